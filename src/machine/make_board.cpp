// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "boot/acpi.h"
#include "boot/kernel_loader.h"
#include "machine/board.h"
#include "machine/engine.h"
#include "machine/ram.h"

namespace triune::machine {

namespace {

boot::FlatLoad flat_load(const FlatBinary& flat) {
    using From = FlatBinary::Mode;
    using To = boot::FlatLoad::Mode;
    switch (flat.mode) {
        case From::real: return {flat.address, To::real};
        case From::protected32: return {flat.address, To::protected32};
        case From::long64: return {flat.address, To::long64};
        case From::by_address: break;
    }
    return {flat.address, flat.address < boot::kernel_floor ? To::real : To::protected32};
}

boot::BootConfig boot_config(const VmDefinition& definition, Gpa rsdp) {
    boot::BootConfig config{.kernel = definition.kernel,
                            .initrd = definition.initrd,
                            .cmdline = definition.append,
                            .bios_state = true,
                            .acpi_rsdp = rsdp};
    for (const ModuleConfig& m : definition.modules) config.modules.push_back({m.path, m.text});
    if (definition.flat) config.flat = flat_load(*definition.flat);
    return config;
}

Result<std::unique_ptr<hypervisor::Vm>> make_hypervisor(const hypervisor::VmConfig& config) {
    return config.engine == "kvm" ? hypervisor::make_kvm_vm(config) : hypervisor::make_soft_vm(config);
}

}  // namespace

std::expected<void, VmError> Board::load(const VmDefinition& definition) {
    if (!definition.firmware.empty()) {
        const auto rom = read_firmware(definition.firmware);
        if (!rom) return std::unexpected(rom.error());
        auto memory = make_firmware_memory(definition.memory_bytes, *rom);
        if (!memory) return std::unexpected(memory.error());
        memory_ = std::move(*memory);
        shadow_ = std::make_unique<ShadowRam>(*memory_, definition.memory_bytes, rom->size(), io_.mmio);
        x86::reset_state(start_, false);
        return {};
    }
    auto ram = make_ram(definition.memory_bytes);
    if (!ram) return std::unexpected(ram.error());
    memory_ = std::move(*ram);
    const auto rsdp = boot::install_acpi(*memory_, {.cpus = definition.cpus, .com1 = true});
    if (!rsdp) return std::unexpected(VmError{rsdp.error().message});
    const auto start = boot::load_kernel(*memory_, boot_config(definition, *rsdp));
    if (!start) return std::unexpected(VmError{start.error().message, true});
    start_ = *start;
    return {};
}

std::expected<std::unique_ptr<Board>, VmError> Board::create(const VmDefinition& definition,
                                                             const x86::CpuModel& model, Backends& backends,
                                                             base::EventLoop& loop, const Trace& trace) {
    std::unique_ptr<Board> board(new Board);
    if (const auto loaded = board->load(definition); !loaded) return std::unexpected(loaded.error());
    if ((board->start_.efer & x86::efer::lme) && !model.has("lm"))
        return std::unexpected(VmError{
            fmt::format("the kernel is 64-bit code, and the processor model {} has no long mode", model.name),
            true});

    hypervisor::VmConfig& config = board->config_;
    config.engine = definition.engine;
    config.cpus = definition.cpus;
    config.cpu = model;
    config.code_cache_bytes = definition.code_cache_bytes;
    config.perf_map = definition.perf_map;
    config.measure_time = definition.measure_time;
    config.verify = definition.verify;
    config.kernel_chips = definition.kvm_kernel_chips;
    config.memory = board->memory_.get();
    config.io = &board->io_;
    if (trace.any()) {
        board->traced_io_ = std::make_unique<TracedIo>(board->io_, trace);
        config.io = board->traced_io_.get();
    }
    config.loop = &loop;
    auto vm = make_hypervisor(config);
    if (!vm) return std::unexpected(VmError{vm.error().message});
    board->vm_ = std::make_unique<EngineSwitch>(std::move(*vm), *board->memory_);
    board->processors_ = std::make_unique<Processors>(*board->vm_, definition.cpus);

    GuestRequests requests{
        .power_off = [b = board.get()] { b->end({{VmEnd::powered_off, {}}}); },
        .reset = [b = board.get()] { b->end({{VmEnd::reset_requested, {}}, true}); },
        .debug_exit = [b = board.get()](u32 value) { b->end({{VmEnd::debug_exit, {}, value}}); },
    };
    if (board->shadow_)
        requests.shadow = [b = board.get()](unsigned, const device::PamSegment& s) {
            b->shadow_->set(*b->processors_, s);
        };
    auto devices =
        make_devices(definition, backends, *board->memory_, board->io_, *board->vm_, loop, requests, trace);
    if (!devices) return std::unexpected(devices.error());
    board->devices_ = std::move(*devices);
    return board;
}

Result<void> Board::switch_engine(const std::string& engine) {
    hypervisor::VmConfig wanted = config_;
    wanted.engine = engine;
    if (engine == "kvm") {
        if (auto r = doubts_about_kvm(); !r) return std::unexpected(r.error());
        if (auto r = kvm_can_go_on(config_.cpu, config_.kernel_chips); !r) return r;
    }
    auto next = make_hypervisor(wanted);
    if (!next) return std::unexpected(next.error());
    const bool paused = processors_->pause();
    auto moved =
        paused ? vm_->move_to(std::move(*next), *processors_) : Result<void>(fail("the VM has ended"));
    processors_->resume();
    if (moved) config_.engine = engine;
    return moved;
}

}  // namespace triune::machine
