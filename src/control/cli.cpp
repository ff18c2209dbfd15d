// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "control/cli.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdio>
#include <string>

#include "control/completion.h"
#include "control/disasm_block.h"
#include "control/run.h"

#ifndef TRIUNE_VERSION
#define TRIUNE_VERSION "0.1.0"
#endif

namespace triune::control {
namespace {

constexpr const char* footer = R"(Exit status:
  0    the guest powered off
  2    bad usage, or a VM definition that cannot be used (a missing kernel, a locked disk)
  3    the guest asked for a reboot and --no-reboot was given
  4    triple fault: the guest's processor shut down
  5    host error: the host ran out of something, or Triune has a bug
  6    --verify found a difference between the engines: Triune has a bug
  130  stopped by Ctrl-C (SIGINT) or by Ctrl-A x on the console
  143  stopped by SIGTERM or SIGHUP
  with --device isa-debug-exit, (value << 1) | 1 of the value that the guest wrote: always odd)";

constexpr const char* signals = R"(Signals:
  SIGUSR1  moves the running guest to the next engine of --switch; the guest does not notice

)";

constexpr const char* run_examples = R"(Examples:
  triune run --kernel vmlinuz --initrd initrd.gz
  triune run --kernel vmlinuz --initrd initrd.gz --cpus 2 --memory 2G --append 'console=ttyS0 quiet'
  triune run --kernel vmlinuz --append 'console=ttyS0 root=/dev/vda' --disk root.img --disk data.img,readonly
  triune run --kernel vmlinuz --initrd initrd.gz --net user,hostfwd=tcp:127.0.0.1:2222-:22
  triune run --kernel kernel.elf --append 'log=debug' --module init.bin,init --device isa-debug-exit --device debugcon
  triune run --firmware /usr/share/seabios/bios-256k.bin --disk disk.img
  triune run --kernel vmlinuz --initrd initrd.gz --append console=hvc0 --console stdio
  triune run --kernel boot.bin --load 0x7c00 --serial none --device debugcon,port=0xe9,file=out.txt
  triune run --kernel vmlinuz --initrd initrd.gz --serial file:console.log --no-reboot --stats=stats.txt

)";

constexpr const char* examples = R"(Examples:
  triune run --kernel vmlinuz --initrd initrd.gz     boot to the serial console (Ctrl-A x quits)
  triune run --help                                  every option, with examples
  triune doctor                                      what this host offers, and the engine it gets
  triune disasm-block 488b03                         guest code beside its translation
  triune completion bash > /etc/bash_completion.d/triune

)";

/// CLI11's messages may span lines; a person gets one.
std::string one_line(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

ExitStatus doctor() {
    const HostReport report = examine_host();
    std::size_t width = 0;
    for (const auto& [name, value] : report.lines) width = std::max(width, name.size());
    for (const auto& [name, value] : report.lines) fmt::print("{:<{}}  {}\n", name, width, value);
    fmt::print("\n--engine auto picks {}: {}\n", report.auto_engine, report.auto_reason);
    return ExitStatus::powered_off;
}

int parse_and_run(int argc, char** argv) {
    CLI::App app{"Triune boots a virtual machine in an ordinary process: no /dev/kvm, no root.", "triune"};
    app.set_version_flag("--version", "triune " TRIUNE_VERSION);
    app.require_subcommand(1);
    app.footer(std::string(examples) + footer);

    RunCommand run;
    CLI::App& run_app = *app.add_subcommand("run", "Boot a virtual machine");
    run.declare(run_app);
    run_app.footer(std::string(run_examples) + signals + footer);
    CLI::App& doctor_app =
        *app.add_subcommand("doctor", "Say what this host offers and which engine 'auto' picks");
    DisasmBlockCommand disasm;
    CLI::App& disasm_app = *app.add_subcommand("disasm-block", "Show guest code beside its translation");
    disasm.declare(disasm_app);
    CLI::App& completion_app = *app.add_subcommand("completion", "Print a completion script for a shell");
    std::string shell;
    completion_app.add_option("shell", shell, "bash, zsh or fish")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh", "fish"}));

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {  // --help, --version
            app.exit(e);
            return static_cast<int>(ExitStatus::powered_off);
        }
        if (app.get_subcommands().empty() && argc > 1 && argv[1][0] != '-') {
            fmt::print(stderr,
                       "triune: '{}' is not a command: write run, doctor, disasm-block or completion (see "
                       "triune --help)\n",
                       argv[1]);
            return static_cast<int>(ExitStatus::bad_usage);
        }
        const char* command = run_app.parsed() ? "run " : disasm_app.parsed() ? "disasm-block " : "";
        fmt::print(stderr, "triune: {} (see triune {}--help)\n", one_line(e.what()), command);
        return static_cast<int>(ExitStatus::bad_usage);
    }
    if (run_app.parsed()) return run.run();
    if (doctor_app.parsed()) return static_cast<int>(doctor());
    if (disasm_app.parsed()) return static_cast<int>(disasm.run());
    fmt::print("{}", completion_script(app, shell).value_or(""));
    return static_cast<int>(ExitStatus::powered_off);
}

}  // namespace

int run_cli(int argc, char** argv) { return parse_and_run(argc, argv); }

}  // namespace triune::control
