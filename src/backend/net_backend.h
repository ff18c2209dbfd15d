// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>

#include "base/types.h"

namespace triune::backend {

using MacAddress = std::array<u8, 6>;

/// The guest's side of a network: what a network card registers with its backend. Called on the
/// backend's thread only.
class NetClient {
public:
    virtual ~NetClient() = default;
    /// The card has been kick()ed: it may send() now, as often as it likes.
    virtual void network_ready() = 0;
    /// An Ethernet frame without FCS for the guest. False when there is no room: the backend keeps
    /// the frame, slows its sources down and offers it again after the next kick().
    virtual bool receive(std::span<const u8> frame) = 0;
    /// The frames that are there for now have been receive()d: the place to raise one interrupt for
    /// all of them.
    virtual void receive_done() = 0;
};

/// What a network card needs of the host.
class NetBackend {
public:
    virtual ~NetBackend() = default;
    /// Null detaches; then no call to the former client is under way when this returns. Not from
    /// within a client's member.
    virtual void attach(NetClient* client) = 0;
    /// Asks for network_ready() and for frames that were refused. Any thread; cheap when already asked.
    virtual void kick() = 0;
    /// A frame from the guest, which may hold anything. Only from network_ready().
    virtual void send(std::span<const u8> frame) = 0;
    /// Largest frame that the backend gives to a client, in bytes.
    [[nodiscard]] virtual u32 max_frame() const = 0;
    /// Frames from the backend were made on this host, with right checksums: a client need not look.
    [[nodiscard]] virtual bool checksums_hold() const { return false; }
    /// send() takes TCP segments of any size that IPv4 can express, whatever the network's MTU.
    [[nodiscard]] virtual bool takes_large_segments() const { return false; }
};

}  // namespace triune::backend
