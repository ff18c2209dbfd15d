// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The public API: define a VM, run it, see inside. Front ends (command line, API server, tests)
/// use this header alone.
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace triune {

/// Why a VM could not start, or stopped by a host failure. `message` is one clear line.
struct VmError {
    std::string message;
    bool usage = false;  ///< the definition was wrong (exit status 2), not the host
};

struct DiskConfig {
    std::string path;
    bool readonly = false;
};

struct HostForward {
    bool udp = false;
    std::string host_address;  ///< empty: 127.0.0.1
    std::uint16_t host_port = 0;
    std::string guest_address;  ///< empty: the guest's DHCP address
    std::uint16_t guest_port = 0;
};

struct NetConfig {
    std::vector<HostForward> forwards;
};

struct SerialConfig {
    enum class Kind { stdio, none, file, unix_socket, pty } kind = Kind::stdio;
    std::string path;
};

/// A file that a multiboot kernel gets beside itself.
struct ModuleConfig {
    std::string path;
    std::string text;  ///< its string; empty: the path
};

/// The kernel is bytes without a header, loaded to `address` and entered at its first byte.
struct FlatBinary {
    enum class Mode {
        by_address,   ///< real below 1 MB, protected32 from there on
        real,         ///< 16-bit, CS:IP = 0:address below 64 KB, address/16:0-15 from there on
        protected32,  ///< flat 32-bit segments, no paging
        long64,       ///< 64-bit, the first 4 GB mapped one to one
    };
    std::uint64_t address = 0;
    Mode mode = Mode::by_address;
};

/// A device that test kernels talk to.
struct DeviceConfig {
    enum class Kind {
        isa_debug_exit,  ///< 4 ports; a write ends the VM with VmEnd::debug_exit
        pc_testdev,  ///< interrupt lines, a latch and MMIO memory for processor test suites; `port` is unused
        debugcon,    ///< a port whose bytes go to the host; reads give 0xe9
    } kind = Kind::debugcon;
    std::uint16_t port = 0;
    std::string path;  ///< debugcon: a file; empty: standard output
};

struct VmDefinition {
    std::string engine = "auto";  ///< auto, bt, interp, kvm
    std::string cpu = "host";
    unsigned cpus = 1;
    std::uint64_t memory_bytes = std::uint64_t{512} << 20;
    std::string firmware;                ///< a ROM that the machine starts in, instead of a kernel
    std::string kernel, initrd, append;  ///< append: empty gives a Linux `console=ttyS0`
    std::vector<ModuleConfig> modules;   ///< for multiboot kernels
    std::optional<FlatBinary> flat;      ///< the kernel is a flat binary
    std::vector<DiskConfig> disks;
    std::optional<NetConfig> net;
    SerialConfig serial;
    SerialConfig console{SerialConfig::Kind::none, {}};  ///< virtio console, hvc0; not stdio beside serial's
    std::vector<DeviceConfig> devices;
    bool no_reboot = false;
    std::uint64_t code_cache_bytes = std::uint64_t{64}
                                     << 20;  ///< code and tables, per vCPU; 800 MiB of code for all
    std::string trace;                       ///< comma-separated events; written to stderr
    bool perf_map = false;
    bool measure_time = false;  ///< stats() tells where the processors' time went; a few percent slower
    std::string gdb;            ///< where GDB may connect: tcp:ADDRESS:PORT or unix:PATH; empty: nowhere
    bool gdb_wait = false;      ///< the guest waits for GDB's first "continue"
    /// Engine kvm: interrupt chips of the host's kernel where it has them, else (and with false) Triune's
    /// own.
    bool kvm_kernel_chips = true;
    /// Engines that switch_engine("") goes through in turn; empty: bt and interp, or kvm and bt for a VM that
    /// begins under kvm. With kvm among them the guest's processor is what KVM and the others can both do.
    std::vector<std::string> switch_engines;
    /// The user asks for the next engine at the console (Ctrl-A e). Called on the VM's own thread: it must
    /// not wait, nor call switch_engine() itself. Empty: there is no such command.
    std::function<void()> on_switch_command;
    bool verify = false;  ///< engine bt: hold every block against the reference engine; slow
};

/// How a VM ended.
enum class VmEnd {
    powered_off,
    reset_requested,  ///< the guest asked for a reboot and no_reboot is set
    triple_fault,
    debug_exit,  ///< by an isa-debug-exit device; VmOutcome::exit_value says with what
    stopped,     ///< stop() was called
    mismatch,    ///< VmDefinition::verify: the engine is wrong; VmOutcome::message shows where
    host_error,  ///< VmOutcome::message says what
};

struct VmOutcome {
    VmEnd end = VmEnd::powered_off;
    std::string message;
    std::uint32_t exit_value = 0;  ///< what the guest wrote to isa-debug-exit
};

struct StatLine {
    std::string name;
    std::uint64_t value = 0;
};

class Vm {
public:
    virtual ~Vm() = default;
    /// Runs to the end (through guest reboots unless no_reboot). Blocks.
    virtual VmOutcome run() = 0;
    /// Ends run() soon; disks are flushed. Any thread and from signal handlers' deferred work.
    virtual void stop() = 0;
    /// Moves the running VM, between two instructions, to another engine ("bt", "interp", "kvm"; "": the next
    /// of VmDefinition::switch_engines), where it goes on; later boots of it start there. While run() runs,
    /// on another thread than it and than the VM's own.
    virtual std::expected<void, VmError> switch_engine(const std::string& engine) = 0;
    /// Counters, summed over vCPUs. After run() has returned.
    [[nodiscard]] virtual std::vector<StatLine> stats() const = 0;
    /// The engine that runs the guest now. Any thread.
    [[nodiscard]] virtual std::string engine() const = 0;
    /// Why `auto` chose it, or what speaks against the kvm that the definition named; else empty.
    [[nodiscard]] virtual std::string engine_reason() const = 0;
};

/// Checks the definition and allocates everything; nothing runs yet.
std::expected<std::unique_ptr<Vm>, VmError> make_vm(const VmDefinition& definition);

/// What this host offers, for `triune doctor`: lines "name: value", and the engine that `auto`
/// picks with its reason.
struct HostReport {
    std::vector<std::pair<std::string, std::string>> lines;
    std::string auto_engine, auto_reason;
};
HostReport examine_host();

}  // namespace triune
