// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "gdb/session.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <deque>

#include "gdb/server.h"

namespace triune::gdb {
namespace {

using hypervisor::Debug;

struct FakeVcpu final : hypervisor::Vcpu {
    hypervisor::Exit run() override { return hypervisor::Kicked{}; }
    void kick() override {}
    x86::VcpuState state() override { return now; }
    void set_state(const x86::VcpuState& s) override { now = s; }
    Result<void> set_guest_debug(const hypervisor::GuestDebug& d) override {
        if (d.breakpoints.size() > 4) return fail("no room");
        debug = d;
        return {};
    }
    const observe::Counters& counters() const override { return counted; }
    x86::VcpuState now;
    hypervisor::GuestDebug debug;
    observe::Counters counted;
};

struct FakeTarget final : Target {
    FakeTarget() : ram(memory::GuestMemory::create(1 << 20).value()) {
        EXPECT_TRUE(ram->add_slot(0, 1 << 20, 0));
        for (FakeVcpu& v : cpus) x86::reset_state(v.now, false);
    }
    unsigned vcpus() const override { return 2; }
    void on_stopped(std::function<void()>) override {}
    void stop() override { ++stops_asked; }
    void go() override { ++went; }
    void hold(unsigned vcpu, bool on) override { held[vcpu] = on; }
    std::optional<Stop> take_stop() override {
        if (stops.empty()) return {};
        const Stop s = stops.front();
        stops.pop_front();
        return s;
    }
    bool with_vcpu(unsigned vcpu, const std::function<void(hypervisor::Vcpu&)>& f) override {
        f(cpus[vcpu]);
        return true;
    }
    memory::GuestMemory& memory() override { return *ram; }
    const x86::CpuModel& model() override { return cpu_model; }
    void kill() override { killed = true; }

    std::array<FakeVcpu, 2> cpus;
    std::unique_ptr<memory::GuestMemory> ram;
    x86::CpuModel cpu_model = x86::make_cpu_model("x86-64-v2", 2).value();
    std::deque<Stop> stops;
    std::array<bool, 2> held{};
    int stops_asked = 0, went = 0;
    bool killed = false;
};

/// A session of a client that wants no acknowledgements.
struct Attached {
    explicit Attached(bool wait = false) {
        memory.started = !wait;
        session.set_target(&target);
        session.stopped();
        EXPECT_EQ(ask("QStartNoAckMode"), "OK");
    }
    /// The payload of the answer; "" where it says nothing yet.
    std::string ask(std::string_view packet) { return raw(frame(packet)); }
    std::string raw(std::string_view bytes) {
        wire.clear();
        session.receive(std::span(reinterpret_cast<const u8*>(bytes.data()), bytes.size()));
        return last();
    }
    std::string last() const {
        const size_t from = wire.find('$'), to = wire.rfind('#');
        return from == std::string::npos ? wire : wire.substr(from + 1, to - from - 1);
    }
    std::string stop_with(Stop s) {
        wire.clear();
        target.stops.push_back(s);
        session.stopped();
        return last();
    }
    FakeTarget target;
    Memory memory;
    std::string wire;
    Session session{memory, [this](std::string_view b) { wire += b; }};
};

std::vector<std::string> read_all(PacketReader& r, std::string_view text) {
    std::vector<std::string> seen;
    std::span bytes(reinterpret_cast<const u8*>(text.data()), text.size());
    while (!bytes.empty()) {
        switch (r.read(bytes)) {
            case PacketReader::Event::none: break;
            case PacketReader::Event::packet: seen.push_back(r.payload()); break;
            case PacketReader::Event::damaged: seen.emplace_back("damaged"); break;
            case PacketReader::Event::interrupt: seen.emplace_back("interrupt"); break;
            case PacketReader::Event::resend: seen.emplace_back("resend"); break;
        }
    }
    return seen;
}

TEST(GdbPacket, AreFoundInAnyStream) {
    PacketReader r;
    EXPECT_EQ(read_all(r, "+$qC#b4\x03noise-$g#00$?#3f"),
              (std::vector<std::string>{"qC", "interrupt", "resend", "damaged", "?"}));
    EXPECT_TRUE(read_all(r, "$q").empty());
    EXPECT_EQ(read_all(r, "C#b4"), std::vector<std::string>{"qC"});
    EXPECT_EQ(read_all(r, "$half$qC#b4"), std::vector<std::string>{"qC"});
    EXPECT_EQ(read_all(r, frame("a#b}c$d*e")), std::vector<std::string>{"a#b}c$d*e"});
}

TEST(GdbPacket, TooLongIsDamagedAndTheNextIsFine) {
    PacketReader r;
    EXPECT_EQ(read_all(r, frame(std::string(packet_size + 1, 'x')) + "$qC#b4"),
              (std::vector<std::string>{"damaged", "qC"}));
    EXPECT_EQ(read_all(r, frame(std::string(packet_size, 'x'))).at(0).size(), packet_size);
}

TEST(GdbAddress, Parses) {
    EXPECT_EQ(parse_address("tcp:127.0.0.1:1234")->port, 1234);
    EXPECT_EQ(parse_address("tcp::1")->ipv4, 0x7f000001u);
    EXPECT_EQ(parse_address("unix:/x")->path, "/x");
    for (const char* bad :
         {"", "tcp:", "tcp:1.2.3:4", "tcp::0", "tcp::65536", "unix:", "1234", "tcp:127.0.0.1:12x"})
        EXPECT_FALSE(parse_address(bad)) << bad;
}

TEST(GdbSession, RegistersGoBothWays) {
    Attached a;
    a.target.cpus[0].now.gpr[x86::rbx] = 0x1122334455667788;
    EXPECT_EQ(a.ask("p1"), "8877665544332211");
    EXPECT_EQ(a.ask("P1=0100000000000000"), "OK");
    EXPECT_EQ(a.target.cpus[0].now.gpr[x86::rbx], 1u);
    const std::string all = a.ask("g");
    EXPECT_EQ(all.size() % 2, 0u);
    EXPECT_EQ(all.substr(16, 16), "0100000000000000");
    EXPECT_EQ(a.ask("G" + all), "OK");
    EXPECT_EQ(a.ask("G00"), "E01");
    EXPECT_EQ(a.ask("pffff"), "E01");
    EXPECT_EQ(a.ask("P1=00"), "E01");
    EXPECT_EQ(a.ask("P1"), "E01");
}

TEST(GdbSession, NoRegisterWriteMakesAnImpossibleState) {
    Attached a;
    const RegisterFile file(RegisterFile::Arch::x86_64, false);
    x86::VcpuState& s = a.target.cpus[0].now;
    for (size_t n = 0; n < file.count(); ++n)
        (void)a.ask(fmt::format("P{:x}={}", n, std::string(file.at(n).bytes * size_t{2}, 'f')));
    EXPECT_FALSE(s.cr0 & x86::cr0::pg);
    EXPECT_FALSE(s.efer & x86::efer::lma);
    EXPECT_FALSE(s.rflags & x86::flag::vm);
    u32 mxcsr;
    std::memcpy(&mxcsr, s.xsave.data() + 24, 4);
    EXPECT_EQ(mxcsr & ~0xffffu, 0u);
}

TEST(GdbSession, DescriptionAndRegistersAgree) {
    for (const auto arch : {RegisterFile::Arch::i386, RegisterFile::Arch::x86_64}) {
        const RegisterFile file(arch, true);
        const x86::VcpuState s;
        size_t bytes = 0;
        for (size_t n = 0; n < file.count(); ++n) {
            EXPECT_EQ(file.read(n, s).size(), file.at(n).bytes);
            EXPECT_NE(file.description().find("\"" + file.at(n).name + "\""), std::string::npos);
            bytes += file.at(n).bytes;
        }
        EXPECT_EQ(bytes, file.bytes());
        EXPECT_LT(bytes * 2, packet_size);
    }
    Attached a;
    const std::string first = a.ask("qXfer:features:read:target.xml:0,10");
    EXPECT_EQ(first, "m<?xml version=\"1");
    EXPECT_EQ(a.ask("qXfer:features:read:target.xml:ffffff,10"), "l");
    EXPECT_EQ(a.ask("qXfer:features:read:target.xml:0"), "E01");
}

TEST(GdbSession, MemoryGoesBothWays) {
    Attached a;
    EXPECT_EQ(a.ask("M1ffe,4:01020304"), "OK");
    EXPECT_EQ(a.ask("m1ffe,4"), "01020304");
    EXPECT_EQ(a.ask(std::string("X2000,1:\x23", 9)), "OK");
    EXPECT_EQ(a.ask("m2000,1"), "23");
    EXPECT_EQ(a.ask("mfffff,4"), "00");  // what there is
    EXPECT_EQ(a.ask("m100000,4"), "E01");
    EXPECT_EQ(a.ask("Mfffff,2:0102"), "E01");
    EXPECT_EQ(a.ask("m0,ffffffffffffffff").size(), packet_size);
    EXPECT_EQ(a.ask("M0,2:01"), "E01");
    EXPECT_EQ(a.ask("Qqemu.PhyMemMode:1"), "OK");
    EXPECT_EQ(a.ask("qqemu.PhyMemMode"), "1");
}

TEST(GdbSession, BreakpointsStopTheMachine) {
    Attached a;
    EXPECT_EQ(a.ask("qSupported:swbreak+").find("PacketSize=4000"), 0u);
    EXPECT_EQ(a.ask("Z0,1000,1"), "OK");
    EXPECT_EQ(a.ask("Z2,3000,8"), "OK");
    EXPECT_EQ(a.ask("vCont;s:2;c"), "");
    EXPECT_EQ(a.target.went, 1);
    EXPECT_FALSE(a.target.held[0] || a.target.held[1]);
    EXPECT_TRUE(a.target.cpus[1].debug.single_step);
    EXPECT_FALSE(a.target.cpus[0].debug.single_step);
    EXPECT_EQ(a.target.cpus[0].debug.watchpoints.at(0), (hypervisor::Watchpoint{0x3000, 8, false, true}));
    a.target.cpus[0].now.seg[x86::cs].base = 0;
    a.target.cpus[0].now.rip = 0x1000;
    EXPECT_EQ(a.stop_with({0, {Debug::Cause::breakpoint, 0x1000}}), "T05swbreak:;thread:1;");
    EXPECT_EQ(a.ask("vCont;c:1"), "");
    EXPECT_TRUE(a.target.held[1]);
    EXPECT_EQ(a.stop_with({0, {Debug::Cause::watchpoint, 0x3000, true}}), "T05watch:3000;thread:1;");
    EXPECT_EQ(a.ask("z0,1000,1"), "OK");
    EXPECT_TRUE(a.target.cpus[1].debug.breakpoints.empty());
    EXPECT_EQ(a.ask("Z5,0,0"), "");
    EXPECT_EQ(a.ask("Z2,0,0"), "E01");
}

TEST(GdbSession, TwoStopsAtOnceAreToldOneAfterTheOther) {
    Attached a;
    EXPECT_EQ(a.ask("Z1,1000,1"), "OK");
    for (FakeVcpu& v : a.target.cpus) v.now.seg[x86::cs].base = 0, v.now.rip = 0x1000;
    (void)a.ask("vCont;c");
    a.target.stops.push_back({1, {Debug::Cause::breakpoint, 0x1000}});
    EXPECT_EQ(a.stop_with({0, {Debug::Cause::breakpoint, 0x1000}}), "T05thread:2;");
    // Stepping the first over it does not bring up the other's stop; going on does.
    EXPECT_EQ(a.ask("vCont;s:2"), "");
    EXPECT_EQ(a.stop_with({1, {Debug::Cause::step}}), "T05thread:2;");
    EXPECT_EQ(a.ask("vCont;c"), "T05thread:1;");
    EXPECT_EQ(a.target.went, 2);
}

TEST(GdbSession, MoreThanTheEngineTakesIsAnError) {
    Attached a;
    for (int i = 0; i < 4; ++i) EXPECT_EQ(a.ask(fmt::format("Z1,{:x},1", i)), "OK");
    EXPECT_EQ(a.ask("Z1,10,1"), "E01");
    EXPECT_EQ(a.target.cpus[0].debug.breakpoints.size(), 4u);
}

TEST(GdbSession, CtrlCStops) {
    Attached a;
    (void)a.ask("vCont;c");
    EXPECT_EQ(a.ask("g"), "E01");  // not while it runs
    const int before = a.target.stops_asked;
    (void)a.raw("\x03");
    EXPECT_EQ(a.target.stops_asked, before + 1);
    a.wire.clear();
    a.session.stopped();
    EXPECT_EQ(a.last(), "T02thread:1;");
}

TEST(GdbSession, AClientThatGoesLeavesTheGuestRunning) {
    Attached a;
    EXPECT_EQ(a.ask("Z0,1000,1"), "OK");
    a.session.close();
    EXPECT_TRUE(a.session.done());
    EXPECT_EQ(a.target.went, 1);
    EXPECT_FALSE(a.target.cpus[0].debug.any());
}

TEST(GdbSession, WaitingGuestsWaitForTheFirstContinue) {
    Attached a(true);
    a.session.close();
    EXPECT_EQ(a.target.went, 0);
    Attached b(true);
    (void)b.ask("vCont;c");
    b.session.close();
    EXPECT_FALSE(b.session.done());
    b.session.stopped();
    EXPECT_TRUE(b.session.done());
    EXPECT_EQ(b.target.went, 2);
}

TEST(GdbSession, AResetKeepsBreakpointsAndTheClient) {
    Attached a;
    EXPECT_EQ(a.ask("Z0,1000,1"), "OK");
    (void)a.ask("vCont;c");
    a.session.set_target(nullptr);
    EXPECT_EQ(a.ask("g"), "E01");
    FakeTarget next;
    a.session.set_target(&next);
    EXPECT_EQ(next.stops_asked, 1);
    a.session.stopped();
    EXPECT_EQ(next.went, 1);
    EXPECT_EQ(next.cpus[1].debug.breakpoints.size(), 1u);
    a.wire.clear();
    a.session.vm_ended();
    EXPECT_EQ(a.last(), "W00");
}

TEST(GdbSession, KillDetachAndMonitor) {
    Attached a;
    EXPECT_NE(from_hex(a.ask("qRcmd," + to_hex(std::string_view("help"))))->find("walk"), std::string::npos);
    EXPECT_EQ(*from_hex(a.ask("qRcmd," + to_hex(std::string_view("gva2gpa 0x1234")))), "0x1234\n");
    EXPECT_EQ(a.ask("qRcmd,zz"), "E01");
    EXPECT_EQ(a.ask("qfThreadInfo"), "m1,2");
    EXPECT_EQ(a.ask("T3"), "E01");
    EXPECT_EQ(a.ask("vMustReplyEmpty"), "");
    EXPECT_EQ(a.ask("D"), "OK");
    EXPECT_TRUE(a.session.finished());
    Attached b;
    (void)b.ask("k");
    EXPECT_TRUE(b.target.killed);
}

}  // namespace
}  // namespace triune::gdb
