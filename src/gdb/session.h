// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gdb/packet.h"
#include "gdb/points.h"
#include "gdb/registers.h"
#include "gdb/target.h"

namespace triune::gdb {

/// What outlives a client.
struct Memory {
    bool started = true;  ///< false: the guest waits for a debugger's first "continue"
    enum class Arch : u8 { automatic, i386, x86_64 } arch = Arch::automatic;
};

/// One client's connection: answers its packets. The VM is stopped whenever the client may ask
/// something, and all processors stop when one does (all-stop). Thread ids are vCPU numbers plus 1.
///
///     stopping -> stopped <-> running      (a target that goes away leaves `running` as it is)
///
/// When the client goes, its breakpoints go and the guest goes on, unless it waits for the first
/// "continue" (Memory::started).
class Session {
public:
    /// `send` puts bytes on the wire.
    Session(Memory& memory, std::function<void(std::string_view)> send);

    /// The machine to debug, or none (between a reset's two boots).
    void set_target(Target* target);
    /// Bytes from the client; takes some or all. It takes none while the VM is stopping: offer them
    /// again after stopped().
    size_t receive(std::span<const u8> bytes);
    /// The target has stopped.
    void stopped();
    /// The client is gone: lets go of the VM. done() when there is nothing left to do.
    void close();
    [[nodiscard]] bool done() const { return closing_ && run_ != Run::stopping; }
    /// The client has detached or killed: its connection is to be closed.
    [[nodiscard]] bool finished() const { return finished_; }
    /// The VM has ended, for good.
    void vm_ended();

private:
    enum class Run : u8 { stopping, stopped, running };

    void packet(std::string_view p);
    void reply(std::string_view payload);
    void error() { reply("E01"); }

    // session.cpp: general packets
    void query(std::string_view p);
    void set(std::string_view p);
    void verbose(std::string_view p);
    void supported(std::string_view features);
    void thread_for(std::string_view p);
    void transfer_description(std::string_view p);
    void let_go();

    // session_run.cpp: going on and stopping
    void resume_all(std::string_view action);
    void resume(std::string_view actions);
    void report_stop(const Stop& stop);
    bool report_queued();
    bool still_valid(const Stop& stop);
    bool arm(const std::vector<bool>& step);

    // session_data.cpp: registers, memory, points
    void read_registers();
    void write_registers(std::string_view digits);
    void read_register(std::string_view p);
    void write_register(std::string_view p);
    void read_memory(std::string_view p);
    void write_memory(std::string_view p, bool binary);
    void point(std::string_view p, bool insert);
    std::string memory_at(u64 address, u64 size);
    bool write_memory_at(u64 address, std::string_view bytes);
    std::optional<Gpa> physical(u64 address);

    // monitor.cpp
    std::string monitor(std::string_view command);

    /// State of the vCPU that packets are about; false: it is gone.
    bool with_state(const std::function<void(const x86::VcpuState&)>& f);
    const RegisterFile& registers();
    /// "1", "-1", "0", "p1.2" and so on: a vCPU number, -1 for all, -2 for what is none.
    int thread_of(std::string_view text) const;
    [[nodiscard]] unsigned vcpus() const { return target_ ? target_->vcpus() : 0; }

    Memory& memory_;
    std::function<void(std::string_view)> send_;
    Target* target_ = nullptr;
    PacketReader reader_;
    std::string last_sent_;
    bool acks_ = true, closing_ = false, finished_ = false;
    bool tell_kind_ = false;  ///< the client knows the stop reasons swbreak and hwbreak
    Run run_ = Run::running;
    bool reply_due_ = false;  ///< the client waits for a stop reply
    bool interrupted_ = false;
    unsigned current_ = 0;  ///< vCPU that Hg chose, or that stopped
    int continue_ = -1;     ///< vCPU that Hc chose
    Points points_;
    std::vector<bool> resumed_;
    std::vector<Stop> queued_;  ///< stops that the client has not heard of
    std::string last_stop_ = "T05thread:1;";
    bool physical_ = false;
    std::optional<RegisterFile> registers_;
};

}  // namespace triune::gdb
