// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/device.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <array>

namespace triune::hypervisor::kvm {
namespace {

struct Needed {
    unsigned long capability;
    const char* name;
};
/// What no VM goes without. All of it is in every Linux since 4.11 whose KVM runs on VT-x or AMD-V.
constexpr auto needed = std::to_array<Needed>({
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
});

std::unexpected<Error> cannot_open(const std::string& path) {
    const int code = errno;
    switch (code) {
        case ENOENT:
            return fail(path +
                            " does not exist: load the module kvm_intel or kvm_amd (with virtualization "
                            "enabled in the firmware), or choose --engine bt",
                        code);
        case EACCES:
        case EPERM:
            return fail(path + ": permission denied: add this user to the group kvm, or choose --engine bt",
                        code);
        case ENODEV:
        case ENXIO:
            return fail(path +
                            " exists, but no kernel module stands behind it: load kvm_intel or kvm_amd, or "
                            "choose --engine bt",
                        code);
        default: return fail(path + ": cannot be opened: " + std::strerror(code), code);
    }
}

}  // namespace

int call(int fd, unsigned long request, unsigned long argument) {
    int r;
    do r = ::ioctl(fd, request, argument);
    while (r < 0 && errno == EINTR);
    return r;
}

Result<Device> Device::open(const char* path) {
    Device d;
    d.fd_ = base::Fd(::open(path, O_RDWR | O_CLOEXEC));
    if (!d.fd_) return cannot_open(path);
    const std::string name = path;
    const int version = call(d.fd(), KVM_GET_API_VERSION);
    if (version < 0) return fail(name + " does not answer as KVM does: " + std::strerror(errno), errno);
    if (version != KVM_API_VERSION)
        return fail(name + " speaks API version " + std::to_string(version) + ", and only version " +
                    std::to_string(KVM_API_VERSION) + " is known");
    for (const Needed& n : needed)
        if (!d.has(n.capability))
            return fail(name + " lacks " + n.name + ": its KVM is too old or too limited");
    const int bytes = call(d.fd(), KVM_GET_VCPU_MMAP_SIZE);
    if (bytes < static_cast<int>(sizeof(kvm_run)))
        return fail(name + ": KVM_GET_VCPU_MMAP_SIZE gives " + std::to_string(bytes));
    d.run_bytes_ = static_cast<size_t>(bytes);
    return d;
}

bool Device::has_chips() const {
    return has(KVM_CAP_IRQCHIP) && has(KVM_CAP_IRQ_ROUTING) && has(KVM_CAP_SIGNAL_MSI) && has(KVM_CAP_PIT2);
}

bool Device::can_filter_msrs() const {
    return has(KVM_CAP_X86_MSR_FILTER) &&
           (capability(KVM_CAP_X86_USER_SPACE_MSR) & KVM_MSR_EXIT_REASON_FILTER);
}

int Device::capability(unsigned long number) const {
    const int r = call(fd(), KVM_CHECK_EXTENSION, number);
    return r < 0 ? 0 : r;
}

Result<base::Fd> Device::create_vm() const {
    base::Fd vm(call(fd(), KVM_CREATE_VM));
    if (vm) return vm;
    const int code = errno;
    if (code == EBUSY)
        return fail(
            "/dev/kvm is busy: another hypervisor (VirtualBox, VMware) holds the processor's "
            "virtualization; stop it, or choose --engine bt",
            code);
    return fail(std::string("/dev/kvm: a VM cannot be created: ") + std::strerror(code), code);
}

}  // namespace triune::hypervisor::kvm
