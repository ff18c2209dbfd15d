// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/net_backend.h"
#include "base/event_loop.h"
#include "base/result.h"

namespace triune::backend {

/// A port of the host that leads to one of the guest.
struct PortForward {
    bool udp = false;
    std::string host_address;  ///< dotted quad; empty: 127.0.0.1
    u16 host_port = 0;
    std::string guest_address;  ///< dotted quad; empty: 10.0.2.15, the first DHCP lease
    u16 guest_port = 0;
};

/// User networking with libslirp: a NAT in this process, no privileges. IPv4 only: network
/// 10.0.2.0/24, the host (its loopback too) at 10.0.2.2, a DNS forwarder at 10.0.2.3, DHCP from
/// 10.0.2.15 on.
///
/// Runs on `loop`'s thread, which outlives it. Fails with one line when a forward is wrong or its
/// port is taken.
Result<std::unique_ptr<NetBackend>> make_slirp_net(base::EventLoop& loop,
                                                   const std::vector<PortForward>& forwards);

}  // namespace triune::backend
