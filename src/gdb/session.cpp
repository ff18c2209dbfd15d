// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "gdb/session.h"

#include <fmt/format.h>

#include <algorithm>

namespace triune::gdb {

Session::Session(Memory& memory, std::function<void(std::string_view)> send)
    : memory_(memory), send_(std::move(send)) {}

void Session::set_target(Target* target) {
    target_ = target;
    queued_.clear();
    if (!target_) {
        // Whoever waits for its stop reply goes on to wait for one of the next boot.
        if (run_ == Run::stopping) run_ = Run::running;
        return;
    }
    current_ = 0;
    if (run_ == Run::stopped || closing_) return;
    // Also to give a machine that has just been reset its breakpoints.
    run_ = Run::stopping;
    target_->stop();
}

size_t Session::receive(std::span<const u8> bytes) {
    std::span<const u8> left = bytes;
    while (!left.empty() && run_ != Run::stopping && !finished_) {
        switch (reader_.read(left)) {
            case PacketReader::Event::none: break;
            case PacketReader::Event::packet:
                if (acks_) send_("+");
                packet(reader_.payload());
                break;
            case PacketReader::Event::damaged: send_("-"); break;
            case PacketReader::Event::resend:
                if (acks_ && !last_sent_.empty()) send_(last_sent_);
                break;
            case PacketReader::Event::interrupt:
                if (run_ != Run::running || !target_) break;
                interrupted_ = true;
                run_ = Run::stopping;
                target_->stop();
                break;
        }
    }
    return finished_ ? bytes.size() : bytes.size() - left.size();
}

void Session::reply(std::string_view payload) {
    last_sent_ = frame(payload);
    send_(last_sent_);
}

void Session::packet(std::string_view p) {
    if (p.empty()) return reply("");
    const char command = p.front();
    const std::string_view rest = p.substr(1);
    // A running VM can be let go, killed and interrupted. The rest needs it stopped.
    const bool ends = command == 'D' || command == 'k' || p.starts_with("vKill");
    if ((run_ == Run::running || !target_) && !ends) return error();
    switch (command) {
        case '?': return reply(last_stop_);
        case 'D':
            reply("OK");
            finished_ = true;
            return;
        case 'k':
            finished_ = true;
            memory_.started = true;
            if (target_) target_->kill();
            return;
        case 'g': return read_registers();
        case 'G': return write_registers(rest);
        case 'p': return read_register(rest);
        case 'P': return write_register(rest);
        case 'm': return read_memory(rest);
        case 'M': return write_memory(rest, false);
        case 'X': return write_memory(rest, true);
        case 'Z': return point(rest, true);
        case 'z': return point(rest, false);
        case 'H': return thread_for(rest);
        case 'T': {
            const int id = thread_of(rest);
            return id >= 0 ? reply("OK") : error();
        }
        case 'c':
        case 'C':
        case 's':
        case 'S': return resume_all(p);
        case 'q': return query(rest);
        case 'Q': return set(rest);
        case 'v': return verbose(rest);
        default: return reply("");
    }
}

int Session::thread_of(std::string_view text) const {
    if (take(text, 'p')) {  // process.thread
        const size_t dot = text.find('.');
        if (dot == std::string_view::npos) return -1;
        text.remove_prefix(dot + 1);
    }
    if (text == "-1") return -1;
    const auto id = take_number(text);
    if (!id || !text.empty() || *id > vcpus()) return -2;
    return *id == 0 ? 0 : static_cast<int>(*id) - 1;
}

void Session::thread_for(std::string_view p) {
    if (p.size() < 2) return error();
    const int id = thread_of(p.substr(1));
    if (id == -2) return error();
    if (p.front() == 'c')
        continue_ = p.substr(1) == "0" ? -1 : id;
    else if (p.front() == 'g' && id >= 0)
        current_ = static_cast<unsigned>(id);
    reply("OK");
}

void Session::query(std::string_view p) {
    if (p.starts_with("Supported")) return supported(p.substr(9));
    if (p == "C") return reply(fmt::format("QC{:x}", current_ + 1));
    if (p.starts_with("Attached")) return reply("1");
    if (p == "fThreadInfo") {
        std::string list = "m";
        for (unsigned i = 1; i <= vcpus(); ++i) list += fmt::format("{}{:x}", i == 1 ? "" : ",", i);
        return reply(list);
    }
    if (p == "sThreadInfo") return reply("l");
    if (p.starts_with("ThreadExtraInfo,")) {
        const int id = thread_of(p.substr(16));
        if (id < 0) return error();
        std::string text = fmt::format("vCPU {}", id);
        target_->with_vcpu(static_cast<unsigned>(id), [&](hypervisor::Vcpu& v) {
            const x86::VcpuState s = v.state();
            text += s.waiting_for_sipi ? " waits for its start"
                    : s.halted         ? " halted"
                    : s.cpl() == 3     ? " user"
                                       : " kernel";
        });
        return reply(to_hex(std::string_view(text)));
    }
    if (p.starts_with("Xfer:features:read:target.xml:")) return transfer_description(p.substr(30));
    if (p.starts_with("Rcmd,")) {
        const auto command = from_hex(p.substr(5));
        if (!command) return error();
        const std::string text = monitor(*command);
        return reply(text.empty() ? "OK" : to_hex(std::string_view(text).substr(0, packet_size / 2)));
    }
    // QEMU's name; GDB scripts use it ("maint packet qqemu.PhyMemMode").
    if (p == "qemu.PhyMemMode") return reply(physical_ ? "1" : "0");
    reply("");
}

void Session::set(std::string_view p) {
    if (p == "StartNoAckMode") {
        reply("OK");
        acks_ = false;
        reader_.trust_checksums();
        return;
    }
    if (p.starts_with("qemu.PhyMemMode:")) {
        if (p.size() != 17 || (p.back() != '0' && p.back() != '1')) return error();
        physical_ = p.back() == '1';
        return reply("OK");
    }
    reply("");
}

void Session::verbose(std::string_view p) {
    if (p == "Cont?") return reply("vCont;c;C;s;S");
    if (p.starts_with("Cont;")) return resume(p.substr(5));
    if (p.starts_with("Kill")) {
        reply("OK");
        return packet("k");
    }
    reply("");  // also to vMustReplyEmpty
}

void Session::supported(std::string_view features) {
    tell_kind_ = features.find("swbreak+") != std::string_view::npos;
    reply(
        fmt::format("PacketSize={:x};qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+",
                    packet_size));
}

const RegisterFile& Session::registers() {
    using Arch = RegisterFile::Arch;
    const x86::CpuModel& model = target_->model();
    const Arch arch = memory_.arch == Memory::Arch::i386     ? Arch::i386
                      : memory_.arch == Memory::Arch::x86_64 ? Arch::x86_64
                      : model.has("lm")                      ? Arch::x86_64
                                                             : Arch::i386;
    // As the client learnt it when it came: GDB asks once.
    if (!registers_) registers_.emplace(arch, model.has("avx"));
    return *registers_;
}

void Session::transfer_description(std::string_view p) {
    const std::string& text = registers().description();
    const auto offset = take_number(p);
    if (!offset || !take(p, ',')) return error();
    const auto size = take_number(p);
    if (!size || !p.empty()) return error();
    if (*offset >= text.size()) return reply("l");
    const std::string part = text.substr(*offset, std::min<u64>(*size, packet_size / 2));
    reply((*offset + part.size() < text.size() ? "m" : "l") + part);
}

bool Session::with_state(const std::function<void(const x86::VcpuState&)>& f) {
    return target_->with_vcpu(current_, [&](hypervisor::Vcpu& v) { f(v.state()); });
}

// -- the end --------------------------------------------------------------------------------------

void Session::close() {
    closing_ = true;
    points_.clear();
    if (!target_) return;
    if (run_ == Run::stopped) return let_go();
    if (run_ == Run::running) target_->stop();
    run_ = Run::stopping;  // stopped() goes on from here
}

void Session::let_go() {
    for (unsigned i = 0; i < vcpus(); ++i) {
        target_->with_vcpu(i, [](hypervisor::Vcpu& v) { (void)v.set_guest_debug({}); });
        target_->hold(i, false);
    }
    run_ = Run::running;
    if (memory_.started) target_->go();
}

void Session::vm_ended() {
    target_ = nullptr;
    if (reply_due_) reply("W00");
    finished_ = true;
}

}  // namespace triune::gdb
