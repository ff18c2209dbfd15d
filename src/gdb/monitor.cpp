// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <charconv>

#include "gdb/session.h"
#include "hypervisor/describe.h"
#include "hypervisor/page_walk.h"

namespace triune::gdb {
namespace {

constexpr std::string_view help =
    "info registers    all registers of the current thread's processor\n"
    "info code         the instruction at its RIP, and the bytes around it\n"
    "info cpus         what each processor is doing\n"
    "walk ADDRESS      the page walk of a virtual address, level by level\n"
    "gva2gpa ADDRESS   the guest-physical address of a virtual address\n"
    "phys on|off       addresses of memory commands are guest-physical, or virtual again\n"
    "arch i386|x86-64|auto   registers that the next 'target remote' sees: i386 for 16- and 32-bit code\n"
    "quit              ends the VM\n";

/// C's ways to write a number, the way GDB prints addresses included.
std::optional<u64> number(std::string_view text) {
    int base = 10;
    if (text.starts_with("0x")) {
        base = 16;
        text.remove_prefix(2);
    }
    u64 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size()) return {};
    return value;
}

}  // namespace

/// What to print; empty where there is nothing to say.
std::string Session::monitor(std::string_view command) {
    while (command.ends_with(' ') || command.ends_with('\n')) command.remove_suffix(1);
    const size_t space = std::min(command.find(' '), command.size());
    const std::string_view verb = command.substr(0, space);
    std::string_view argument = command.substr(space);
    while (argument.starts_with(' ')) argument.remove_prefix(1);

    std::string out;
    const memory::GuestMemory& memory = target_->memory();
    if (verb == "help") return std::string(help);
    if (command == "info registers" || command == "registers") {
        with_state([&](const x86::VcpuState& s) {
            out = fmt::format("vCPU {}: {}", current_, hypervisor::describe_registers(s));
        });
        return out;
    }
    if (command == "info code") {
        with_state([&](const x86::VcpuState& s) { out = hypervisor::describe_code(s, memory); });
        return out;
    }
    if (command == "info cpus") {
        for (unsigned i = 0; i < vcpus(); ++i)
            target_->with_vcpu(i, [&](hypervisor::Vcpu& v) {
                const x86::VcpuState s = v.state();
                out += fmt::format("{} vCPU {}: RIP {:016x} CPL {}{}{}\n", i == current_ ? '*' : ' ', i,
                                   s.rip, s.cpl(), s.halted ? ", halted" : "",
                                   s.waiting_for_sipi ? ", waits for its start" : "");
            });
        return out;
    }
    if (verb == "walk" || verb == "gva2gpa") {
        const auto address = number(argument);
        if (!address) return fmt::format("{} wants an address, such as 0xffffffff81000000\n", verb);
        with_state([&](const x86::VcpuState& s) {
            if (verb == "walk") {
                out = hypervisor::describe_walk(s, memory, *address);
            } else {
                const auto gpa = hypervisor::translate(s, memory, *address);
                out = gpa ? fmt::format("{:#x}\n", *gpa) : "not mapped\n";
            }
        });
        return out;
    }
    if (verb == "phys") {
        if (argument == "on" || argument == "off")
            physical_ = argument == "on";
        else if (!argument.empty())
            return "phys on, or phys off\n";
        return fmt::format("memory addresses are {}\n", physical_ ? "guest-physical" : "virtual");
    }
    if (verb == "arch") {
        if (argument == "i386")
            memory_.arch = Memory::Arch::i386;
        else if (argument == "x86-64")
            memory_.arch = Memory::Arch::x86_64;
        else if (argument == "auto")
            memory_.arch = Memory::Arch::automatic;
        else
            return "arch i386, arch x86-64 or arch auto\n";
        return "for the next 'target remote'\n";
    }
    if (verb == "quit") {
        target_->kill();
        return "the VM ends\n";
    }
    return fmt::format("'{}' is not a command here:\n{}", command.substr(0, 64), help);
}

}  // namespace triune::gdb
