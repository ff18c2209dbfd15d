// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/check_event.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <string_view>

namespace triune::hypervisor {
namespace {

/// Anything else (a pipe, a socket) could block the thread that signals it.
Result<void> check_eventfd(int fd) {
    std::array<char, 64> text{};
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t n = fd < 0 ? -1 : ::readlink(link.c_str(), text.data(), text.size());
    if (fd < 0 || ::fcntl(fd, F_GETFD) < 0)
        return fail("descriptor " + std::to_string(fd) + " is not open", EBADF);
    if (n < 0) return {};  // a host without /proc: the caller is trusted
    if (std::string_view(text.data(), static_cast<size_t>(n)) != "anon_inode:[eventfd]")
        return fail("descriptor " + std::to_string(fd) + " is not an eventfd", EINVAL);
    return {};
}

}  // namespace

Result<void> check_event(const IoEvent& event) {
    const bool port = event.space == IoEvent::Space::port;
    const bool size_exists =
        event.size == 1 || event.size == 2 || event.size == 4 || (event.size == 8 && !port);
    if (!size_exists) return fail("I/O event of " + std::to_string(event.size) + " bytes", EINVAL);
    const u64 last = event.address + (event.size - 1);
    if (last < event.address || (port && last > 0xffff))
        return fail("I/O event beyond the end of the address space", EINVAL);
    return check_eventfd(event.fd);
}

Result<void> check_event(const IrqEvent& event) {
    if (auto r = check_eventfd(event.fd); !r) return r;
    return event.resample_fd < 0 ? Result<void>{} : check_eventfd(event.resample_fd);
}

}  // namespace triune::hypervisor
