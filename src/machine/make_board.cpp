// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/acpi.h"
#include "boot/linux_loader.h"
#include "machine/board.h"
#include "machine/ram.h"

namespace triune::machine {

std::expected<std::unique_ptr<Board>, VmError> Board::create(const VmDefinition& definition,
                                                             const x86::CpuModel& model, Backends& backends,
                                                             base::EventLoop& loop, const Trace& trace) {
    std::unique_ptr<Board> board(new Board);
    auto ram = make_ram(definition.memory_bytes);
    if (!ram) return std::unexpected(ram.error());
    board->memory_ = std::move(*ram);

    const auto rsdp = boot::install_acpi(*board->memory_, {.cpus = definition.cpus, .com1 = true});
    if (!rsdp) return std::unexpected(VmError{rsdp.error().message});
    const auto start = boot::load_linux(*board->memory_, {.kernel = definition.kernel,
                                                          .initrd = definition.initrd,
                                                          .cmdline = definition.append,
                                                          .acpi_rsdp = *rsdp});
    if (!start) return std::unexpected(VmError{start.error().message, true});
    board->start_ = *start;

    hypervisor::VmConfig config;
    config.engine = definition.engine;
    config.cpus = definition.cpus;
    config.cpu = model;
    config.code_cache_bytes = definition.code_cache_bytes;
    config.perf_map = definition.perf_map;
    config.memory = board->memory_.get();
    config.io = &board->io_;
    if (trace.any()) {
        board->traced_io_ = std::make_unique<TracedIo>(board->io_, trace);
        config.io = board->traced_io_.get();
    }
    config.loop = &loop;
    auto vm = hypervisor::make_soft_vm(config);
    if (!vm) return std::unexpected(VmError{vm.error().message});
    board->vm_ = std::move(*vm);
    board->processors_ = std::make_unique<Processors>(*board->vm_, definition.cpus);

    const GuestRequests requests{
        .power_off = [b = board.get()] { b->end({{VmEnd::powered_off, {}}}); },
        .reset = [b = board.get()] { b->end({{VmEnd::reset_requested, {}}, true}); },
    };
    auto devices = make_devices(backends, *board->memory_, board->io_, *board->vm_, loop, requests, trace);
    if (!devices) return std::unexpected(devices.error());
    board->devices_ = std::move(*devices);
    return board;
}

}  // namespace triune::machine
