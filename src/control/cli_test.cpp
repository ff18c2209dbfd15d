// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "control/cli.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "triune/inspect.h"
#include "triune/vm.h"

// This test stands in for the machine: the definition that the command line made is kept here, and
// the VM ends as the test wants.
namespace triune {
namespace {

VmDefinition last_definition;
std::optional<VmError> make_error;
VmOutcome wanted_outcome;
bool wait_for_stop = false, may_switch = true, switch_command = false;
unsigned switches_to_end = ~0u;  // a VM that waits ends by itself after so many
std::string reason_for_auto;

class FakeVm final : public Vm {
public:
    VmOutcome run() override {
        if (!wait_for_stop) return wanted_outcome;
        while (!stopped_ && switches_ < switches_to_end)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return {stopped_ ? VmEnd::stopped : VmEnd::powered_off, {}};
    }
    void stop() override { stopped_ = true; }
    std::expected<void, VmError> switch_engine(const std::string& engine) override {
        EXPECT_EQ(engine, "") << "the next one, whichever that is";
        ++switches_;
        if (!may_switch) return std::unexpected(VmError{"the engine stays: it is fast enough"});
        engine_ = engine_ == "bt" ? "interp" : "bt";
        if (switch_command && switches_ < switches_to_end) last_definition.on_switch_command();
        return {};
    }
    std::vector<StatLine> stats() const override { return {{"halts", 7}}; }
    std::string engine() const override { return engine_; }
    std::string engine_reason() const override { return reason_for_auto; }

private:
    std::atomic<bool> stopped_ = false;
    std::atomic<unsigned> switches_ = 0;
    std::string engine_ = "bt";
};

}  // namespace

std::expected<std::unique_ptr<Vm>, VmError> make_vm(const VmDefinition& definition) {
    last_definition = definition;
    if (make_error) return std::unexpected(*make_error);
    return std::make_unique<FakeVm>();
}

HostReport examine_host() { return {{{"engine bt", "works"}}, "bt", "it is the fastest here"}; }

std::expected<std::string, VmError> disassemble_block(const std::vector<std::uint8_t>& code,
                                                      std::uint64_t rip, bool user, unsigned bits) {
    std::ostringstream text;
    text << code.size() << " bytes from " << std::hex << +code[0] << " at 0x" << rip
         << (user ? " user" : " kernel")
         << (bits == 64   ? "\n"
             : bits == 32 ? " 32\n"
                          : " 16\n");
    return text.str();
}

namespace control {
namespace {

class Cli : public testing::Test {
protected:
    void SetUp() override {
        make_error.reset();
        wanted_outcome = {};
        wait_for_stop = switch_command = false;
        may_switch = true;
        switches_to_end = ~0u;
        last_definition = {};
        reason_for_auto.clear();
    }
    int run(std::vector<std::string> words) {
        words.insert(words.begin(), "triune");
        std::vector<char*> argv;
        for (std::string& w : words) argv.push_back(w.data());
        testing::internal::CaptureStdout();
        testing::internal::CaptureStderr();
        const int status = run_cli(static_cast<int>(argv.size()), argv.data());
        out_ = testing::internal::GetCapturedStdout();
        err_ = testing::internal::GetCapturedStderr();
        return status;
    }
    [[nodiscard]] bool one_clear_line() const {
        return err_.starts_with("triune: ") && std::count(err_.begin(), err_.end(), '\n') == 1;
    }
    std::string out_, err_;
};

TEST_F(Cli, SaysWhichEngineAutoTookAndWhy) {
    reason_for_auto = "it is the fastest here";
    EXPECT_EQ(run({"run", "--kernel", "k"}), 0);
    EXPECT_EQ(err_, "triune: engine bt: it is the fastest here\n");
}

TEST_F(Cli, EveryOptionReachesTheDefinition) {
    ASSERT_EQ(run({"run",      "--engine",   "interp",   "--cpu",    "x86-64-v2",   "--cpus",
                   "3",        "--memory",   "1G",       "--kernel", "k",           "--initrd=i",
                   "--append", "a b",        "--disk",   "d0",       "--disk",      "d1,readonly",
                   "--net",    "user",       "--serial", "file:log", "--no-reboot", "--code-cache",
                   "16M",      "--perf-map", "--trace",  "irq,exits"}),
              0)
        << err_;
    const VmDefinition& d = last_definition;
    EXPECT_EQ(d.engine, "interp");
    EXPECT_EQ(d.cpu, "x86-64-v2");
    EXPECT_EQ(d.cpus, 3u);
    EXPECT_EQ(d.memory_bytes, std::uint64_t{1} << 30);
    EXPECT_EQ(d.kernel, "k");
    EXPECT_EQ(d.initrd, "i");
    EXPECT_EQ(d.append, "a b");
    ASSERT_EQ(d.disks.size(), 2u);
    EXPECT_EQ(d.disks[0].path, "d0");
    EXPECT_TRUE(d.disks[1].readonly);
    EXPECT_TRUE(d.net);
    EXPECT_EQ(d.serial.path, "log");
    EXPECT_TRUE(d.no_reboot);
    EXPECT_EQ(d.code_cache_bytes, std::uint64_t{16} << 20);
    EXPECT_TRUE(d.perf_map);
    EXPECT_EQ(d.trace, "irq,exits");
}

TEST_F(Cli, BadUsageIsStatus2AndOneLine) {
    for (const std::vector<std::string>& words :
         std::vector<std::vector<std::string>>{{},
                                               {"fly"},
                                               {"run"},
                                               {"run", "--kernel"},
                                               {"run", "--kernel", "k", "--cpus", "0"},
                                               {"run", "--kernel", "k", "--cpus", "17"},
                                               {"run", "--kernel", "k", "--memory", "512"},
                                               {"run", "--kernel", "k", "--engine", "xen"},
                                               {"run", "--kernel", "k", "--net", "bridge"},
                                               {"run", "--kernel", "k", "--serial", "tcp:1"},
                                               {"run", "--kernel", "k", "--disk", "d,ro"},
                                               {"run", "--kernel", "k", "--unknown"},
                                               {"run", "--kernel", "k", "stray"},
                                               {"disasm-block"},
                                               {"disasm-block", ""},
                                               {"disasm-block", "488"},
                                               {"disasm-block", "48 8b 0g"},
                                               {"disasm-block", "90", "--rip", "here"},
                                               {"disasm-block", "90", "--bits", "8"},
                                               {"disasm-block", "90", "--bits", "16", "--rip", "0x10000"},
                                               {"disasm-block", "90", "--rip", "0x12345678123456789"},
                                               {"completion", "csh"}}) {
        EXPECT_EQ(run(words), 2);
        EXPECT_TRUE(one_clear_line()) << err_;
    }
}

TEST_F(Cli, ErrorsFromMakingTheVm) {
    make_error = VmError{"k: no such file", true};
    EXPECT_EQ(run({"run", "--kernel", "k"}), 2);
    EXPECT_EQ(err_, "triune: k: no such file\n");
    make_error = VmError{"out of memory", false};
    EXPECT_EQ(run({"run", "--kernel", "k"}), 5);
}

TEST_F(Cli, StatusSaysHowTheVmEnded) {
    const std::pair<VmEnd, int> table[] = {{VmEnd::powered_off, 0},  {VmEnd::reset_requested, 3},
                                           {VmEnd::triple_fault, 4}, {VmEnd::host_error, 5},
                                           {VmEnd::mismatch, 6},     {VmEnd::stopped, 130}};
    for (const auto& [end, status] : table) {
        wanted_outcome = {end, {}};
        EXPECT_EQ(run({"run", "--kernel", "k"}), status);
    }
}

TEST_F(Cli, AGuestChoosesItsStatusThroughDebugExit) {
    for (const auto& [value, status] :
         {std::pair{0u, 1}, {1u, 3}, {0x10u, 33}, {0x7fu, 255}, {0x80u, 1}, {~0u, 255}}) {
        wanted_outcome = {VmEnd::debug_exit, {}, value};
        EXPECT_EQ(run({"run", "--kernel", "k", "--device", "isa-debug-exit"}), status);
    }
}

TEST_F(Cli, OptionsForKernelsUnderTest) {
    ASSERT_EQ(run({"run", "--kernel", "k", "--load", "0x8000,long", "--module", "m,a=1,b", "--module", "n",
                   "--device", "debugcon,file=f", "--device", "isa-debug-exit,port=0x501"}),
              0)
        << err_;
    const VmDefinition& d = last_definition;
    ASSERT_TRUE(d.flat);
    EXPECT_EQ(d.flat->address, 0x8000u);
    ASSERT_EQ(d.modules.size(), 2u);
    EXPECT_EQ(d.modules[0].text, "a=1,b");
    ASSERT_EQ(d.devices.size(), 2u);
    EXPECT_EQ(d.devices[0].path, "f");
    EXPECT_EQ(d.devices[1].port, 0x501);
}

TEST_F(Cli, SignalsStopTheVm) {
    for (const auto& [signal, status] : {std::pair{SIGINT, 130}, {SIGTERM, 143}, {SIGHUP, 143}}) {
        wait_for_stop = true;
        // Block first: the signal must wait for the program's own thread, not end this test.
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, signal);
        pthread_sigmask(SIG_BLOCK, &set, nullptr);
        kill(getpid(), signal);
        EXPECT_EQ(run({"run", "--kernel", "k"}), status);
    }
}

TEST_F(Cli, Sigusr1MovesToTheNextEngine) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    wait_for_stop = true;
    switches_to_end = 1;
    kill(getpid(), SIGUSR1);
    EXPECT_EQ(run({"run", "--kernel", "k"}), 0);
    EXPECT_EQ(err_, "triune: engine interp\n");
    may_switch = false;
    kill(getpid(), SIGUSR1);
    EXPECT_EQ(run({"run", "--kernel", "k"}), 0) << "what cannot be is told, and the VM goes on";
    EXPECT_EQ(err_, "triune: the engine stays: it is fast enough\n");
}

TEST_F(Cli, TheConsoleMovesToTheNextEngine) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    wait_for_stop = switch_command = true;
    switches_to_end = 3;
    kill(getpid(), SIGUSR1);  // the first; each asks for another, as a person at the console does
    EXPECT_EQ(run({"run", "--kernel", "k"}), 0);
    EXPECT_EQ(err_, "triune: engine interp\ntriune: engine bt\ntriune: engine interp\n");
}

TEST_F(Cli, SwitchNamesEngines) {
    ASSERT_EQ(run({"run", "--kernel", "k", "--switch", "bt,kvm"}), 0) << err_;
    EXPECT_EQ(last_definition.switch_engines, (std::vector<std::string>{"bt", "kvm"}));
    EXPECT_EQ(run({"run", "--kernel", "k", "--switch", "bt,xen"}), 2);
    EXPECT_TRUE(one_clear_line()) << err_;
}

TEST_F(Cli, KvmIrqchip) {
    ASSERT_EQ(run({"run", "--kernel", "k"}), 0) << err_;
    EXPECT_TRUE(last_definition.kvm_kernel_chips);
    ASSERT_EQ(run({"run", "--kernel", "k", "--kvm-irqchip", "user"}), 0) << err_;
    EXPECT_FALSE(last_definition.kvm_kernel_chips);
    EXPECT_EQ(run({"run", "--kernel", "k", "--kvm-irqchip", "split"}), 2);
}

TEST_F(Cli, StatsToStderrOrFile) {
    EXPECT_EQ(run({"run", "--kernel", "k", "--stats"}), 0);
    EXPECT_NE(err_.find("halts"), std::string::npos);
    const std::string path = testing::TempDir() + "triune_stats";
    EXPECT_EQ(run({"run", "--stats=" + path, "--kernel", "k"}), 0) << err_;
    EXPECT_EQ(err_, "");
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    EXPECT_NE(text.str().find("halts"), std::string::npos);
    unlink(path.c_str());
    EXPECT_EQ(run({"run", "--kernel", "k", "--stats=/nonexistent/x"}), 5);
    EXPECT_TRUE(one_clear_line()) << err_;
}

TEST_F(Cli, DisasmBlock) {
    EXPECT_EQ(run({"disasm-block", "488B03", "48 ff c0", "--rip", "0x1000"}), 0) << err_;
    EXPECT_EQ(out_, "6 bytes from 48 at 0x1000 kernel\n");
    EXPECT_EQ(run({"disasm-block", "--user", "90"}), 0) << err_;
    EXPECT_EQ(out_, "1 bytes from 90 at 0x401000 user\n");
    EXPECT_EQ(run({"disasm-block", "90"}), 0) << err_;
    EXPECT_EQ(out_, "1 bytes from 90 at 0xffffffff81000000 kernel\n");
    EXPECT_EQ(run({"disasm-block", "--bits", "32", "90"}), 0) << err_;
    EXPECT_EQ(out_, "1 bytes from 90 at 0xc1000000 kernel 32\n");
    EXPECT_EQ(run({"disasm-block", "--bits", "32", "--user", "90"}), 0) << err_;
    EXPECT_EQ(out_, "1 bytes from 90 at 0x8048000 user 32\n");
    EXPECT_EQ(run({"disasm-block", "--bits", "16", "90"}), 0) << err_;
    EXPECT_EQ(out_, "1 bytes from 90 at 0x7c00 kernel 16\n");
    EXPECT_EQ(run({"disasm-block", "--help"}), 0);
    EXPECT_NE(out_.find("--rip"), std::string::npos);
}

TEST_F(Cli, HelpDoctorAndCompletion) {
    EXPECT_EQ(run({"--help"}), 0);
    EXPECT_NE(out_.find("Exit status"), std::string::npos);
    EXPECT_EQ(run({"run", "--help"}), 0);
    EXPECT_NE(out_.find("--code-cache"), std::string::npos);
    EXPECT_NE(out_.find("Examples"), std::string::npos);
    EXPECT_EQ(run({"--version"}), 0);
    EXPECT_TRUE(out_.starts_with("triune "));
    EXPECT_EQ(run({"doctor"}), 0);
    EXPECT_NE(out_.find("picks bt"), std::string::npos);
    for (const char* shell : {"bash", "zsh", "fish"}) {
        EXPECT_EQ(run({"completion", shell}), 0);
        EXPECT_NE(out_.find("no-reboot"), std::string::npos) << shell;
    }
}

}  // namespace
}  // namespace control
}  // namespace triune
