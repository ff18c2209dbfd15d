// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Any bytes from a GDB client, in pieces, with the machine stopping, being reset and ending in between. What
// is sent must be whole packets, and a client that has gone must leave no breakpoint behind.
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <memory>

#include "gdb/session.h"

using namespace triune;

namespace {

struct Vcpu final : hypervisor::Vcpu {
    hypervisor::Exit run() override { return hypervisor::Kicked{}; }
    void kick() override {}
    x86::VcpuState state() override { return now; }
    void set_state(const x86::VcpuState& s) override {
        if (((s.cr0 ^ now.cr0) & x86::cr0::pg) || ((s.efer ^ now.efer) & x86::efer::lma)) std::abort();
        now = s;
    }
    Result<void> set_guest_debug(const hypervisor::GuestDebug& d) override {
        debug = d;
        return {};
    }
    const observe::Counters& counters() const override { return counted; }
    x86::VcpuState now;
    hypervisor::GuestDebug debug;
    observe::Counters counted;
};

struct Target final : gdb::Target {
    Target() : ram(memory::GuestMemory::create(1 << 16).value()) {
        (void)ram->add_slot(0, 1 << 16, 0);
        for (Vcpu& v : cpus) x86::reset_state(v.now, false);
    }
    unsigned vcpus() const override { return 2; }
    void on_stopped(std::function<void()>) override {}
    void stop() override { stopping = true; }
    void go() override { stopping = false; }
    void hold(unsigned vcpu, bool) override {
        if (vcpu >= 2) std::abort();
    }
    std::optional<gdb::Stop> take_stop() override {
        if (stops.empty()) return {};
        const gdb::Stop s = stops.front();
        stops.pop_front();
        return s;
    }
    bool with_vcpu(unsigned vcpu, const std::function<void(hypervisor::Vcpu&)>& f) override {
        f(cpus.at(vcpu));
        return true;
    }
    memory::GuestMemory& memory() override { return *ram; }
    const x86::CpuModel& model() override { return cpu_model; }
    void kill() override {}

    std::array<Vcpu, 2> cpus;
    std::unique_ptr<memory::GuestMemory> ram;
    x86::CpuModel cpu_model;
    std::deque<gdb::Stop> stops;
    bool stopping = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
    std::span<const u8> left(data, size);
    const auto byte = [&]() -> u8 {
        if (left.empty()) return 0;
        const u8 b = left.front();
        left = left.subspan(1);
        return b;
    };
    auto target = std::make_unique<Target>();
    gdb::Memory memory;
    gdb::Session session(memory, [](std::string_view sent) {
        if (sent != "+" && sent != "-" && (sent.front() != '$' || sent[sent.size() - 3] != '#')) std::abort();
    });
    session.set_target(target.get());
    session.stopped();
    while (!left.empty()) {
        const u8 what = byte();
        if (what < 0xf0) {
            // Whole packets, so that the fuzzer need not guess checksums.
            const size_t n = std::min<size_t>(what, left.size());
            const std::string packet =
                gdb::frame(std::string_view(reinterpret_cast<const char*>(left.data()), n));
            session.receive(std::span(reinterpret_cast<const u8*>(packet.data()), packet.size()));
            left = left.subspan(n);
        } else if (what < 0xf4) {
            const size_t n = std::min<size_t>(byte(), left.size());
            session.receive(left.first(n));
            left = left.subspan(n);
        } else if (what < 0xfc) {
            target->stops.push_back(
                {byte() & 1u, {static_cast<hypervisor::Debug::Cause>(byte() % 3), byte(), (what & 1) != 0}});
            session.stopped();
        } else if (what < 0xfe) {
            session.set_target(nullptr);
            target = std::make_unique<Target>();
            session.set_target(target.get());
        } else {
            session.stopped();
        }
    }
    session.close();
    session.stopped();
    if (!session.done()) std::abort();
    for (const Vcpu& v : target->cpus)
        if (v.debug.any()) std::abort();
    return 0;
}
