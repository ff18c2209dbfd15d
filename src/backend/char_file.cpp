// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "backend/char_backend.h"
#include "base/fd.h"
#include "base/mutex.h"

namespace triune::backend {

namespace {

class NullChar final : public CharBackend {
public:
    void write(std::span<const u8>) override {}
    void on_input(Input) override {}
    void resume_input() override {}
};

class FileChar final : public CharBackend {
public:
    FileChar(base::Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
    void write(std::span<const u8> bytes) override {
        const base::MutexLock lock(mutex_);
        while (!bytes.empty()) {
            const ssize_t n = ::write(fd_.get(), bytes.data(), bytes.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) {
                if (!complained_)
                    std::fprintf(stderr, "triune: %s: %s\n", path_.c_str(), std::strerror(errno));
                complained_ = true;
                return;
            }
            bytes = bytes.subspan(static_cast<size_t>(n));
        }
    }
    void on_input(Input) override {}
    void resume_input() override {}

private:
    base::Mutex mutex_;
    base::Fd fd_;
    std::string path_;
    bool complained_ GUARDED_BY(mutex_) = false;
};

}  // namespace

std::unique_ptr<CharBackend> make_null_char() { return std::make_unique<NullChar>(); }

Result<std::unique_ptr<CharBackend>> make_file_char(const std::string& path) {
    base::Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!fd) return fail_errno(path);
    return std::make_unique<FileChar>(std::move(fd), path);
}

Result<std::unique_ptr<CharBackend>> make_stdout_char() {
    base::Fd fd(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
    if (!fd) return fail_errno("standard output");
    return std::make_unique<FileChar>(std::move(fd), "standard output");
}

}  // namespace triune::backend
