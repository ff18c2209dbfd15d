// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>
#include <utility>

namespace triune {

/// A host failure that a person will read: what was wrong, where, and what to do.
struct Error {
    std::string message;
    /// errno where there is one, else 0.
    int code = 0;
};

template <class T>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(std::string message, int code = 0) {
    return std::unexpected(Error{std::move(message), code});
}

/// "what: strerror(errno)".
[[nodiscard]] inline std::unexpected<Error> fail_errno(const std::string& what) {
    const int code = errno;
    return std::unexpected(Error{what + ": " + std::strerror(code), code});
}

}  // namespace triune
