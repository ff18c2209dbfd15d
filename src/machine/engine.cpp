// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/engine.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/types.h"
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

}  // namespace triune::machine
