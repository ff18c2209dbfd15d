// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "gdb/session.h"

namespace triune::gdb {

/// Where a server listens: "tcp:127.0.0.1:1234" (or "tcp::1234", which means the same) or "unix:PATH".
struct Address {
    std::string path;  ///< of a unix socket; empty: TCP
    u32 ipv4 = 0x7f000001;
    u16 port = 0;
};
Result<Address> parse_address(std::string_view text);

/// Takes one client after the other; the next waits until the last is gone.
///
/// Threads: any. The work is done on the loop's thread, which is not to be held up by who calls.
class Server {
public:
    /// `wait`: the guest waits for the first client's "continue".
    static Result<std::unique_ptr<Server>> create(base::EventLoop& loop, const std::string& address,
                                                  bool wait);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// A machine that is about to run: its processors start only when the debugger lets them. It stays
    /// until the next call; null: there is none. When this returns the former one is not used any more.
    void set_target(Target* target);
    /// The VM has ended: tells the client.
    void vm_ended();

private:
    struct Impl;
    explicit Server(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
    std::shared_ptr<Impl> impl_;
};

}  // namespace triune::gdb
