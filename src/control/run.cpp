// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "control/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "control/options.h"
#include "control/stop_on_signal.h"

namespace triune::control {
namespace {

/// An option whose text `parse` turns into a value; its error becomes CLI11's.
template <class Parse, class Store>
CLI::callback_t parsed(std::string option, Parse parse, Store store) {
    return [=](const CLI::results_t& texts) {
        for (const std::string& text : texts) {
            auto value = parse(text);
            if (!value) throw CLI::ValidationError(option, value.error());
            store(*value);
        }
        return true;
    };
}

void complain(const std::string& message) { fmt::print(stderr, "triune: {}\n", message); }

/// The table of --stats. False (after one line on stderr) when the file cannot be written.
bool print_stats(const std::vector<StatLine>& lines, const std::string& path) {
    std::FILE* const out = path.empty() ? stderr : std::fopen(path.c_str(), "we");
    if (out == nullptr) {
        complain(fmt::format("{}: cannot write statistics: {}", path, std::strerror(errno)));
        return false;
    }
    std::size_t width = 0;
    for (const StatLine& line : lines) width = std::max(width, line.name.size());
    for (const StatLine& line : lines) fmt::print(out, "{:<{}}  {:>16}\n", line.name, width, line.value);
    if (out == stderr) return true;
    if (std::fclose(out) == 0) return true;
    complain(fmt::format("{}: cannot write statistics: {}", path, std::strerror(errno)));
    return false;
}

ExitStatus status_of(const VmOutcome& outcome, int signal) {
    switch (outcome.end) {
        case VmEnd::powered_off: return ExitStatus::powered_off;
        case VmEnd::reset_requested: return ExitStatus::guest_reset;
        case VmEnd::triple_fault: return ExitStatus::triple_fault;
        case VmEnd::stopped:
            return signal == 0 || signal == SIGINT ? ExitStatus::interrupted : ExitStatus::terminated;
        case VmEnd::debug_exit:
        case VmEnd::mismatch: return ExitStatus::mismatch;
        case VmEnd::host_error: break;
    }
    return ExitStatus::host_error;
}

/// With isa-debug-exit the guest chooses: (value << 1) | 1, of which the system keeps 8 bits.
int process_status(const VmOutcome& outcome, int signal) {
    if (outcome.end == VmEnd::debug_exit) return static_cast<int>((outcome.exit_value << 1 | 1) & 0xff);
    return static_cast<int>(status_of(outcome, signal));
}

}  // namespace

void RunCommand::declare(CLI::App& app) {
    VmDefinition& d = definition;
    app.add_option("--engine", d.engine, "How guest code is run")
        ->check(CLI::IsMember({"auto", "bt", "interp", "kvm"}))
        ->type_name("auto|bt|interp|kvm")
        ->capture_default_str();
    app.add_option(
           "--kvm-irqchip",
           [&d](const CLI::results_t& texts) {
               d.kvm_kernel_chips = texts.back() == "kernel";
               return true;
           },
           "Engine kvm: interrupt chips and interval timer in the host's kernel where it has them, or "
           "Triune's own "
           "[kernel]")
        ->check(CLI::IsMember({"kernel", "user"}))
        ->type_name("kernel|user")
        ->expected(1);
    app.add_option(
           "--switch", d.switch_engines,
           "Engines that SIGUSR1 and Ctrl-A e go through [bt,interp; kvm,bt after --engine kvm]. With kvm "
           "the guest's processor has what KVM and the others can all do")
        ->delimiter(',')
        ->check(CLI::IsMember({"bt", "interp", "kvm"}))
        ->type_name("ENGINE,…")
        ->expected(1, 3);
    app.add_option(
           "--cpu", d.cpu,
           "Processor: 486, pentium, pentium3, core2, x86-64-v2, x86-64-v3 or host, and changes to it, such "
           "as core2,+aes,-pge")
        ->type_name("MODEL")
        ->capture_default_str();
    app.add_option("--cpus", d.cpus, "Virtual processors, 1 to 16")
        ->check(CLI::Range(1, 16))
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--memory", parsed("--memory", parse_size, [&d](std::uint64_t v) { d.memory_bytes = v; }),
                   "Guest memory [512M]")
        ->type_name("SIZE")
        ->expected(1);
    app.add_option("--kernel", d.kernel,
                   "Linux bzImage, ELF kernel (multiboot 1 or 2, PVH), or with --load a flat binary")
        ->type_name("FILE");
    app.add_option(
           "--firmware", d.firmware,
           "Start in this ROM (64K to 16M, such as SeaBIOS) at the reset vector, instead of in a kernel")
        ->type_name("FILE");
    app.add_option(
           "--load", parsed("--load", parse_load, [&d](const FlatBinary& v) { d.flat = v; }),
           "The kernel is a flat binary for this address, entered at its first byte: in real mode below "
           "1M, in 32-bit protected mode from there on, or as MODE (real, protected, long) says")
        ->type_name("ADDR[,MODE]")
        ->expected(1);
    app.add_option("--module",
                   parsed("--module", parse_module, [&d](const ModuleConfig& v) { d.modules.push_back(v); }),
                   "A module for a multiboot kernel, with its text [the file's name] (repeat for more)")
        ->type_name("FILE[,TEXT]")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_option("--initrd", d.initrd, "Initial RAM disk")->type_name("FILE");
    app.add_option("--append", d.append, "Kernel command line [Linux: console=ttyS0]")->type_name("TEXT");
    app.add_option("--disk",
                   parsed("--disk", parse_disk, [&d](const DiskConfig& v) { d.disks.push_back(v); }),
                   "Raw disk image as the next virtio disk (repeat for more)")
        ->type_name("FILE[,readonly]")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_option("--net", parsed("--net", parse_net, [&d](const auto& v) { d.net = v; }),
                   "Network [none]; hostfwd=tcp:127.0.0.1:2222-:22 forwards a host port to the guest")
        ->type_name("user[,hostfwd=…]|none")
        ->expected(1);
    app.add_option(
           "--serial",
           parsed("--serial", parse_serial,
                  [this](const SerialConfig& v) {
                      definition.serial = v;
                      serial_given = true;
                  }),
           "Where the serial console goes [stdio]. On a terminal Ctrl-A x quits, Ctrl-A e switches the "
           "engine, Ctrl-A h helps")
        ->type_name("stdio|none|file:PATH|unix:PATH|pty")
        ->expected(1);
    app.add_option(
           "--device",
           parsed("--device", parse_device, [&d](const DeviceConfig& v) { d.devices.push_back(v); }),
           "A device for test kernels: isa-debug-exit[,port=0xf4] ends the VM with status (value << 1) | 1; "
           "debugcon[,port=0xe9][,file=PATH] prints to standard output or a file; "
           "pc-testdev has interrupt lines, a latch and MMIO memory for test suites (repeat for more)")
        ->type_name("isa-debug-exit|debugcon|pc-testdev[,…]")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_option("--console",
                   parsed("--console", parse_serial, [&d](const SerialConfig& v) { d.console = v; }),
                   "A virtio console (hvc0) beside the serial line, and where it goes [none]. With stdio the "
                   "serial line goes nowhere unless --serial says so")
        ->type_name("stdio|none|file:PATH|unix:PATH|pty")
        ->expected(1);
    app.add_flag("--no-reboot", d.no_reboot, "End with status 3 when the guest reboots");
    app.add_option("--code-cache",
                   parsed("--code-cache", parse_size, [&d](std::uint64_t v) { d.code_cache_bytes = v; }),
                   "Bound of translated code and its tables, per processor [64M]")
        ->type_name("SIZE")
        ->expected(1);
    app.add_flag("--perf-map", d.perf_map, "Write /tmp/perf-PID.map, so that perf names translated code");
    app.add_flag("--verify", d.verify,
                 "Hold every translated block against the reference engine, which is slow; a difference is "
                 "printed and ends the VM with status 6. Engine bt; processors take turns");
    app.add_option(
           "--stats",
           [this](const CLI::results_t& texts) {
               stats = definition.measure_time = true;
               stats_file = texts.empty() ? "" : texts.back();
               return true;
           },
           "Print counters and times at the end, to stderr or FILE (write --stats=FILE)")
        ->type_name("[=FILE]")
        ->expected(0, 1);
    app.add_option("--gdb", d.gdb, "Let GDB connect ('target remote') to this address")
        ->type_name("tcp:127.0.0.1:PORT|unix:PATH");
    app.add_flag("--wait", d.gdb_wait, "With --gdb: start the guest when GDB says 'continue'");
    app.add_option("--trace", d.trace, "Write events to stderr: a list of port, mmio, irq, msi")
        ->type_name("EVENTS");
}

int RunCommand::run() {
    const auto misuse = [](std::string_view what) {
        complain(fmt::format("{} (see triune run --help)", what));
        return static_cast<int>(ExitStatus::bad_usage);
    };
    VmDefinition& d = definition;
    if (d.kernel.empty() && d.firmware.empty()) return misuse("--kernel FILE or --firmware FILE is required");
    if (!d.firmware.empty() &&
        !(d.kernel.empty() && d.initrd.empty() && d.append.empty() && d.modules.empty() && !d.flat))
        return misuse(
            "--firmware excludes --kernel, --initrd, --append, --module and --load: what it boots is on a "
            "disk");
    if (d.console.kind == SerialConfig::Kind::stdio && !serial_given)
        d.serial.kind = SerialConfig::Kind::none;
    block_stop_signals();
    d.on_switch_command = request_switch;
    auto vm = make_vm(definition);
    if (!vm) {
        complain(vm.error().message);
        return static_cast<int>(vm.error().usage ? ExitStatus::bad_usage : ExitStatus::host_error);
    }
    if (const std::string reason = (*vm)->engine_reason(); !reason.empty())
        fmt::print(stderr, "triune: engine {}: {}\n", (*vm)->engine(), reason);
    VmOutcome outcome;
    int signal = 0;
    {
        StopOnSignal stopper(**vm);
        outcome = (*vm)->run();
        signal = stopper.signal();
    }
    const std::vector<StatLine> counters = stats ? (*vm)->stats() : std::vector<StatLine>{};
    vm->reset();  // the terminal is back in its own mode before anything is printed
    if (!outcome.message.empty()) complain(outcome.message);
    const bool stats_lost = stats && !print_stats(counters, stats_file);
    if (stats_lost && outcome.end == VmEnd::powered_off) return static_cast<int>(ExitStatus::host_error);
    return process_status(outcome, signal);
}

}  // namespace triune::control
