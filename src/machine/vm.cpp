// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "triune/vm.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/mutex.h"
#include "gdb/server.h"
#include "machine/backends.h"
#include "machine/board.h"
#include "machine/engine.h"
#include "machine/ram.h"
#include "x86/cpu_leaves.h"
#include "x86/cpu_model.h"

namespace triune {
namespace {

/// Time runs slower by this in a guest under --verify.
constexpr u64 verified_tsc_factor = 8;

using machine::Backends;
using machine::Board;
using machine::RunEnd;

/// An event loop on its thread.
class LoopThread {
public:
    static Result<std::unique_ptr<LoopThread>> create() {
        auto loop = base::EventLoop::create();
        if (!loop) return std::unexpected(loop.error());
        return std::unique_ptr<LoopThread>(new LoopThread(std::move(*loop)));
    }
    ~LoopThread() {
        loop_->stop();
        thread_.join();
    }
    LoopThread(const LoopThread&) = delete;
    LoopThread& operator=(const LoopThread&) = delete;
    base::EventLoop& loop() { return *loop_; }

private:
    explicit LoopThread(std::unique_ptr<base::EventLoop> loop)
        : loop_(std::move(loop)), thread_([this] { loop_->run(); }) {
        pthread_setname_np(thread_.native_handle(), "events");
    }
    std::unique_ptr<base::EventLoop> loop_;
    std::thread thread_;
};

/// The VM of this module: backends for its whole life, a Board for each boot.
///
/// Threads: run() on one; stop() on any. `mutex_` guards `board_` and the definition's engine against
/// stop(), and is taken before the Board's own locks. `switch_mutex_` is taken before it: it keeps the board
/// while the VM moves to another engine.
class HostedVm final : public Vm {
public:
    explicit HostedVm(VmDefinition definition) : definition_(std::move(definition)) {}

    std::expected<void, VmError> prepare();
    VmOutcome run() override;
    void stop() override;
    std::expected<void, VmError> switch_engine(const std::string& engine) override;
    std::vector<StatLine> stats() const override;
    std::string engine() const override;
    std::string engine_reason() const override { return engine_reason_; }

private:
    std::expected<void, VmError> new_board();
    std::expected<void, VmError> choose_switches();
    std::expected<void, VmError> open_gdb();
    VmOutcome run_until_end();

    VmDefinition definition_;
    x86::CpuModel model_;
    machine::Trace trace_;
    std::unique_ptr<LoopThread> events_;  // outlives all that uses the loop
    Backends backends_;
    base::Mutex switch_mutex_;
    mutable base::Mutex mutex_;
    std::unique_ptr<Board> board_;
    std::unique_ptr<gdb::Server> gdb_;  ///< null: none. Goes before the board that it looks at
    bool stopped_ GUARDED_BY(mutex_) = false;
    std::string engine_reason_;
    observe::Counters counters_;
    u64 boots_ = 0, run_ns_ = 0;
};

std::expected<void, VmError> HostedVm::prepare() {
    const auto unusable = [](std::string message) {
        return std::unexpected(VmError{std::move(message), true});
    };
    if (const auto ram = machine::check_ram(definition_.memory_bytes, machine::host_ram()); !ram) return ram;
    if (definition_.cpus < 1 || definition_.cpus > 16)
        return unusable(fmt::format("{} processors: a VM has 1 to 16", definition_.cpus));
    if (definition_.engine == "auto") {
        machine::EngineChoice choice = machine::choose_engine(!definition_.gdb.empty());
        definition_.engine = std::move(choice.engine);
        engine_reason_ = std::move(choice.reason);
    } else if (definition_.engine == "kvm") {
        if (auto doubts = machine::doubts_about_kvm(); !doubts)
            return std::unexpected(VmError{doubts.error().message});
        else
            engine_reason_ = std::move(*doubts);
    }
    if (definition_.verify && definition_.engine != "bt")
        return unusable("--verify checks engine bt: use --engine bt");
    auto trace = machine::Trace::parse(definition_.trace);
    if (!trace) return std::unexpected(trace.error());
    trace_ = *trace;
    auto model = x86::make_cpu_model(definition_.cpu, definition_.cpus);
    if (!model) return unusable(model.error().message);
    model_ = std::move(*model);
    if (const auto chosen = choose_switches(); !chosen) return chosen;
    // A guest whose timer comes every 4 ms would do little else: its clocks go by the TSC, and so slower.
    if (definition_.verify) x86::state_tsc_rate(model_, verified_tsc_factor * model_.tsc_hz);

    auto events = LoopThread::create();
    if (!events) return std::unexpected(VmError{events.error().message});
    events_ = std::move(*events);
    auto backends =
        machine::make_backends(definition_, events_->loop(),
                               {.quit = [this] { stop(); }, .switch_engine = definition_.on_switch_command});
    if (!backends) return std::unexpected(backends.error());
    backends_ = std::move(*backends);
    if (const auto opened = open_gdb(); !opened) return opened;
    return new_board();
}

std::expected<void, VmError> HostedVm::choose_switches() {
    std::vector<std::string>& engines = definition_.switch_engines;
    const auto has = [&](std::string_view engine) {
        return std::ranges::find(engines, engine) != engines.end();
    };
    for (const std::string& engine : engines)
        if (engine != "bt" && engine != "interp" && engine != "kvm")
            return std::unexpected(
                VmError{fmt::format("--switch {}: engines are bt, interp and kvm", engine), true});
    if (engines.empty() && definition_.engine == "kvm")
        engines = {"kvm", "bt"};
    else if (engines.empty())
        engines = {"bt", "interp"};
    if (definition_.engine != "kvm" && !has("kvm")) return {};
    // One processor for all engines that the guest may meet.
    auto limited = hypervisor::limit_to_kvm(model_, definition_.kvm_kernel_chips);
    if (!limited) return std::unexpected(VmError{limited.error().message});
    model_ = std::move(*limited);
    return {};
}

std::expected<void, VmError> HostedVm::open_gdb() {
    if (definition_.gdb.empty()) {
        if (!definition_.gdb_wait) return {};
        return std::unexpected(VmError{"--wait: there is no debugger to wait for; add --gdb", true});
    }
    auto server = gdb::Server::create(events_->loop(), definition_.gdb, definition_.gdb_wait);
    if (!server) return std::unexpected(VmError{server.error().message, true});
    gdb_ = std::move(*server);
    return {};
}

std::expected<void, VmError> HostedVm::new_board() {
    auto board = Board::create(definition_, model_, backends_, events_->loop(), trace_);
    if (!board) return std::unexpected(board.error());
    if (gdb_) gdb_->set_target(&(*board)->debug(model_, events_->loop(), [this] { stop(); }));
    const base::MutexLock lock(mutex_);
    board_ = std::move(*board);
    if (stopped_) board_->end({{VmEnd::stopped, {}}});
    ++boots_;
    return {};
}

VmOutcome HostedVm::run_until_end() {
    for (;;) {
        const RunEnd end = board_->run(counters_);
        if (gdb_) gdb_->set_target(nullptr);
        std::unique_ptr<Board> old;
        {
            const base::MutexLock keeps_board(switch_mutex_);
            const base::MutexLock lock(mutex_);
            old = std::move(board_);
        }
        old.reset();  // devices have let go of the backends before the next boot takes them
        if (!end.reset || definition_.no_reboot) return end.outcome;
        if (const auto made = new_board(); !made)
            return {VmEnd::host_error, "reset: " + made.error().message};
    }
}

VmOutcome HostedVm::run() {
    const u64 begin = base::monotonic_ns();
    VmOutcome outcome = run_until_end();
    if (gdb_) gdb_->vm_ended();
    run_ns_ = base::monotonic_ns() - begin;
    for (size_t i = 0; i < backends_.disks.size(); ++i) {
        backend::BlockBackend& disk = *backends_.disks[i];
        if (const int error = disk.readonly() ? 0 : disk.flush();
            error != 0 && outcome.end != VmEnd::host_error)
            outcome = {VmEnd::host_error, fmt::format("{}: what the guest wrote may be lost: {}",
                                                      definition_.disks[i].path, std::strerror(error))};
    }
    return outcome;
}

void HostedVm::stop() {
    const base::MutexLock lock(mutex_);
    stopped_ = true;
    if (board_) board_->end({{VmEnd::stopped, {}}});
}

std::expected<void, VmError> HostedVm::switch_engine(const std::string& wanted) {
    if (!definition_.gdb.empty())
        return std::unexpected(VmError{"the engine stays: break- and watchpoints of --gdb would not move"});
    if (definition_.verify) return std::unexpected(VmError{"the engine stays: --verify checks engine bt"});
    const base::MutexLock keeps_board(switch_mutex_);
    Board* board = nullptr;
    std::string engine = wanted;
    {
        const base::MutexLock lock(mutex_);
        if (engine.empty()) {
            const std::vector<std::string>& all = definition_.switch_engines;
            const auto now = std::ranges::find(all, definition_.engine);
            engine = now == all.end() || now + 1 == all.end() ? all.front() : *(now + 1);
        }
        if (definition_.engine == engine) return {};
        board = board_.get();
    }
    if (!board) return std::unexpected(VmError{"the engine stays: the VM is not running"});
    if (const auto moved = board->switch_engine(engine); !moved)
        return std::unexpected(VmError{"the engine stays: " + moved.error().message});
    const base::MutexLock lock(mutex_);
    definition_.engine = engine;
    return {};
}

std::string HostedVm::engine() const {
    const base::MutexLock lock(mutex_);
    return definition_.engine;
}

std::vector<StatLine> HostedVm::stats() const {
    std::vector<StatLine> lines{{"boots", boots_}, {"wall time, ms", run_ns_ / 1'000'000}};
    for (size_t i = 0; i < counters_.value.size(); ++i)
        lines.push_back({std::string(observe::counter_names[i]), counters_.value[i]});
    const u64 ticks_per_ms = std::max<u64>(x86::host_tsc_hz() / 1000, 1);
    for (size_t i = 0; definition_.measure_time && i < observe::activity_names.size(); ++i)
        lines.push_back({fmt::format("processor time, ms: {}", observe::activity_names[i]),
                         counters_.time.ticks(static_cast<observe::Activity>(i)) / ticks_per_ms});
    return lines;
}

}  // namespace

std::expected<std::unique_ptr<Vm>, VmError> make_vm(const VmDefinition& definition) {
    auto vm = std::make_unique<HostedVm>(definition);
    if (const auto prepared = vm->prepare(); !prepared) return std::unexpected(prepared.error());
    return vm;
}

}  // namespace triune
