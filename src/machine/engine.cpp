// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/engine.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/fd.h"
#include "base/types.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/kvm/probe.h"

namespace triune::machine {

EngineChoice choose_engine(bool debugged) {
    const hypervisor::kvm::Probe& kvm = hypervisor::kvm::probe();
    if (kvm.good && !debugged) return {"kvm", kvm.verdict};
    // The translator's only demand beyond what the reference engine needs: executable shared memory,
    // which hardened hosts (SELinux execmem rules, noexec policies) may refuse.
    const base::Fd fd(memfd_create("triune-probe", MFD_CLOEXEC));
    if (fd && ftruncate(fd.get(), page_size) == 0) {
        void* const page = mmap(nullptr, page_size, PROT_READ | PROT_EXEC, MAP_SHARED, fd.get(), 0);
        if (page != MAP_FAILED) {
            munmap(page, page_size);
            return {"bt", "binary translation (" +
                              (kvm.good ? "engine kvm has only four break- and watchpoints" : kvm.verdict) +
                              ")"};
        }
    }
    return {"interp",
            "this host refuses executable shared memory, which the translator needs, and " + kvm.verdict};
}

namespace {

bool same_value(const x86::CpuidResult& a, const x86::CpuidResult& b) {
    return a.eax == b.eax && a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx;
}

}  // namespace

Result<std::string> doubts_about_kvm() {
    const hypervisor::kvm::Probe& kvm = hypervisor::kvm::probe();
    if (kvm.stuck) return fail(kvm.verdict + "; choose --engine bt");
    return kvm.good ? std::string() : kvm.verdict;
}

Result<void> kvm_can_go_on(const x86::CpuModel& model, bool kernel_chips) {
    const auto limited = hypervisor::limit_to_kvm(model, kernel_chips);
    if (!limited) return std::unexpected(limited.error());
    const bool same = std::ranges::equal(model.leaves, limited->leaves, [](const auto& a, const auto& b) {
        return same_value(a.value, b.value);
    });
    if (same) return {};
    std::string missing;
    for (const std::string& feature : x86::cpu_feature_names())
        if (model.has(feature) && !limited->has(feature)) missing += (missing.empty() ? "" : ", ") + feature;
    return fail("this host's KVM lacks what the guest has been shown: " +
                (missing.empty() ? "its address size" : missing) +
                "; a VM that is to go to engine kvm starts with --switch bt,kvm");
}

}  // namespace triune::machine
