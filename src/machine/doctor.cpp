// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "hypervisor/kvm/device.h"
#include "hypervisor/kvm/probe.h"
#include "machine/engine.h"
#include "machine/ram.h"
#include "triune/vm.h"

namespace triune {
namespace {

/// HWCAP2_FSGSBASE (Linux arch/x86 elf.h): user code may run RDGSBASE and its like.
constexpr unsigned long hwcap2_fsgsbase = 1 << 1;

std::string first_match(const char* file, std::string_view key) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);)
        if (line.starts_with(key))
            if (const auto colon = line.find(':'); colon != std::string::npos)
                return line.substr(std::min(line.size(), line.find_first_not_of(" \t", colon + 1)));
    return {};
}

std::string describe_kvm() {
    const auto device = hypervisor::kvm::Device::open();
    if (!device) return device.error().message;
    return device->has_chips() ? "usable, with interrupt chips in the kernel"
                               : "usable, with Triune's interrupt chips";
}

std::string describe_virtualization() {
    return hypervisor::kvm::hardware_virtualization() ? "VT-x or AMD-V" : "none";
}

std::string describe_features() {
    std::string found;
    const auto add = [&](bool has, const char* name) {
        if (has) found += std::string(found.empty() ? "" : " ") + name;
    };
    __builtin_cpu_init();
    add(__builtin_cpu_supports("sse4.2"), "sse4.2");
    add(__builtin_cpu_supports("popcnt"), "popcnt");
    add(__builtin_cpu_supports("aes"), "aes");
    add(__builtin_cpu_supports("pclmul"), "pclmul");
    add(__builtin_cpu_supports("avx"), "avx");
    add(__builtin_cpu_supports("avx2"), "avx2");
    add(__builtin_cpu_supports("bmi"), "bmi1");
    add(__builtin_cpu_supports("bmi2"), "bmi2");
    add(__builtin_cpu_supports("fma"), "fma");
    add(__builtin_cpu_supports("avx512f"), "avx512f");
    return found.empty() ? "none of those that matter" : found;
}

std::string describe_limit(int resource, unsigned shift, const char* unit) {
    rlimit limit{};
    if (getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return std::strerror(errno);
    if (limit.rlim_cur == RLIM_INFINITY) return "unlimited";
    return fmt::format("{}{}", limit.rlim_cur >> shift, unit);
}

std::string describe_memfd() {
    const base::Fd fd(memfd_create("triune-doctor", MFD_CLOEXEC));
    return fd ? "works" : fmt::format("not usable: {}", std::strerror(errno));
}

/// The translator writes code through one mapping of a memfd and runs it through another.
std::string describe_executable_memory() {
    const base::Fd fd(memfd_create("triune-doctor", MFD_CLOEXEC));
    if (!fd || ftruncate(fd.get(), 4096) != 0) return fmt::format("not usable: {}", std::strerror(errno));
    void* const page = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd.get(), 0);
    if (page == MAP_FAILED) return fmt::format("refused: {}", std::strerror(errno));
    munmap(page, 4096);
    return "works";
}

}  // namespace

HostReport examine_host() {
    HostReport report;
    const auto line = [&](const char* name, std::string value) {
        report.lines.emplace_back(name, std::move(value));
    };
    utsname system{};
    uname(&system);
    line("kernel", fmt::format("{} {} {}", system.sysname, system.release, system.machine));
    const std::string model = first_match("/proc/cpuinfo", "model name");
    line("processor", model.empty() ? "unknown" : model);
    line("processors", fmt::format("{}", sysconf(_SC_NPROCESSORS_ONLN)));
    line("features", describe_features());
    line("FSGSBASE",
         getauxval(AT_HWCAP2) & hwcap2_fsgsbase ? "enabled for user code" : "not enabled for user code");
    line("hardware virtualization", describe_virtualization());
    line("/dev/kvm", describe_kvm());
    line("KVM probe", hypervisor::kvm::probe().verdict);
    line("memory and swap", fmt::format("{}M", machine::host_ram() >> 20));
    line("address space limit", describe_limit(RLIMIT_AS, 20, "M"));
    line("open files limit", describe_limit(RLIMIT_NOFILE, 0, ""));
    line("locked memory limit", describe_limit(RLIMIT_MEMLOCK, 10, "K"));
    const std::string huge = first_match("/proc/meminfo", "HugePages_Free");
    line("free huge pages", huge.empty() ? "unknown" : huge);
    line("memfd", describe_memfd());
    line("executable memfd mapping", describe_executable_memory());
    const machine::EngineChoice choice = machine::choose_engine();
    report.auto_engine = choice.engine;
    report.auto_reason = choice.reason;
    return report;
}

}  // namespace triune
