// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>

#include <cstdio>

#include "backend/char_backend.h"
#include "backend/stream.h"

namespace triune::backend {

namespace {

class PtyChar final : public CharBackend {
public:
    PtyChar(base::EventLoop& loop, base::Fd master, base::Fd slave)
        : master_(std::move(master)),
          slave_(std::move(slave)),
          stream_(Stream::create(loop, {.fd = master_.get(), .output_limit = 64 << 10})) {}
    ~PtyChar() override { stream_->close(); }
    void write(std::span<const u8> bytes) override { stream_->write(bytes); }
    void on_input(Input receiver) override { stream_->set_receiver(std::move(receiver)); }
    void resume_input() override { stream_->resume(); }

private:
    base::Fd master_;
    // Kept open, so that the master never hangs up when a terminal program leaves.
    base::Fd slave_;
    std::shared_ptr<Stream> stream_;
};

}  // namespace

Result<std::unique_ptr<CharBackend>> make_pty_char(base::EventLoop& loop) {
    base::Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    if (!master) return fail_errno("pty");
    char name[128];
    if (::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0 ||
        ::ptsname_r(master.get(), name, sizeof name) != 0)
        return fail_errno("pty");
    base::Fd slave(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!slave) return fail_errno(name);
    termios t{};
    if (::tcgetattr(slave.get(), &t) == 0) {
        ::cfmakeraw(&t);
        ::tcsetattr(slave.get(), TCSANOW, &t);
    }
    std::fprintf(stderr, "triune: serial port on %s\n", name);
    return std::make_unique<PtyChar>(loop, std::move(master), std::move(slave));
}

}  // namespace triune::backend
