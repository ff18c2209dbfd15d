// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/vm_state.h"

#include <string>

namespace triune::hypervisor::kvm {
namespace {

/// Four pages that VT-x needs for real mode where it has no unrestricted guests (KVM_SET_TSS_ADDR), below
/// the firmware's 16 MB.
constexpr u64 identity_map_gpa = 0xfeffc000, tss_gpa = 0xfeffd000;

Result<void> enable(int vm, u32 capability, u64 argument) {
    kvm_enable_cap enable{};
    enable.cap = capability;
    enable.args[0] = argument;
    if (call(vm, KVM_ENABLE_CAP, &enable) < 0)
        return fail_errno("KVM: capability " + std::to_string(capability) + " cannot be enabled");
    return {};
}

}  // namespace

Result<std::shared_ptr<VmState>> VmState::create(const VmConfig& config) {
    auto device = Device::open();
    if (!device) return std::unexpected(device.error());
    const int most = device->capability(KVM_CAP_MAX_VCPUS);
    if (config.cpus < 1 || (most > 0 && config.cpus > static_cast<unsigned>(most)))
        return fail(std::to_string(config.cpus) + " vCPUs: this host's KVM has 1 to " + std::to_string(most));
    auto fd = device->create_vm();
    if (!fd) return std::unexpected(fd.error());
    std::shared_ptr<VmState> vm(new VmState(config, std::move(*device), std::move(*fd)));
    // All time-stamp counters start at 0 together.
    vm->tsc_offset_ = 0 - __builtin_ia32_rdtsc();
    if (auto r = vm->choose_chips(); !r) return std::unexpected(r.error());
    if (auto r = vm->map_memory(); !r) return std::unexpected(r.error());
    if (auto r = vm->set_policy(); !r) return std::unexpected(r.error());
    return vm;
}

bool VmState::take_index(unsigned index) {
    const base::MutexLock lock(mutex_);
    if (taken_[index]) return false;
    taken_[index] = true;
    return true;
}

void VmState::set_vcpu(unsigned index, int fd) {
    const base::MutexLock lock(mutex_);
    vcpus_[index] = fd;
}

Result<void> VmState::choose_model() {
    auto model = model_for(device_, config_.cpu, !user_chips_ && routing_);
    if (!model) return std::unexpected(model.error());
    model_ = std::move(*model);
    return {};
}

Result<void> VmState::set_up_real_mode() {
    if (!device_.has(KVM_CAP_SET_TSS_ADDR)) return {};
    u64 identity = identity_map_gpa;
    if (device_.has(KVM_CAP_SET_IDENTITY_MAP_ADDR) && call(fd(), KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
        return fail_errno("KVM: KVM_SET_IDENTITY_MAP_ADDR");
    if (call(fd(), KVM_SET_TSS_ADDR, tss_gpa) < 0) return fail_errno("KVM: KVM_SET_TSS_ADDR");
    return {};
}

Result<void> VmState::choose_chips() {
    if (config_.kernel_chips && device_.has_chips()) {
        if (auto r = set_up_real_mode(); !r) return r;
        if (create_kernel_chips()) return choose_model();
        // It has them, and does not give them. A VM that got some cannot do without the others.
        routing_.reset();
        auto fd = device_.create_vm();
        if (!fd) return std::unexpected(fd.error());
        fd_ = std::move(*fd);
    }
    if (!config_.loop) return fail("KVM has no interrupt chips, and there is no event loop for others");
    if (auto r = set_up_real_mode(); !r) return r;
    if (auto r = choose_model(); !r) return r;
    user_chips_ = std::make_unique<UserChips>(config_, model_, tsc_offset_);
    return {};
}

Result<void> VmState::create_kernel_chips() {
    if (call(fd(), KVM_CREATE_IRQCHIP) < 0)
        return fail_errno("KVM: the in-kernel interrupt chips cannot be created");
    // KVM's 8259A pair begins unmasked and with vectors from 0. One that nobody has set up sends nothing
    // (8259A datasheet: it waits for ICW1, which unmasks).
    for (const u32 id : {u32{KVM_IRQCHIP_PIC_MASTER}, u32{KVM_IRQCHIP_PIC_SLAVE}}) {
        kvm_irqchip chip{};
        chip.chip_id = id;
        if (call(fd(), KVM_GET_IRQCHIP, &chip) < 0) return fail_errno("KVM: KVM_GET_IRQCHIP");
        chip.chip.pic.imr = 0xff;
        if (call(fd(), KVM_SET_IRQCHIP, &chip) < 0) return fail_errno("KVM: KVM_SET_IRQCHIP");
    }
    kvm_pit_config pit{};
    pit.flags = KVM_PIT_SPEAKER_DUMMY;  // port 0x61
    if (call(fd(), KVM_CREATE_PIT2, &pit) < 0)
        return fail_errno("KVM: the in-kernel interval timer cannot be created");
    routing_.emplace(fd(), static_cast<unsigned>(device_.capability(KVM_CAP_IRQ_ROUTING)));
    return routing_->set_lines();
}

Result<void> VmState::set_memory(unsigned number, const memory::Slot& slot, bool log) const {
    kvm_userspace_memory_region region{};
    region.slot = number;
    region.flags = slot.readonly && device_.has(KVM_CAP_READONLY_MEM) ? KVM_MEM_READONLY : 0;
    if (log) region.flags |= KVM_MEM_LOG_DIRTY_PAGES;
    region.guest_phys_addr = slot.gpa;
    region.memory_size = slot.size;
    region.userspace_addr = reinterpret_cast<u64>(slot.host);
    if (call(fd(), KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return fail_errno("KVM: " + std::to_string(slot.size >> 10) +
                          " KiB of guest memory cannot be mapped");
    return {};
}

Result<void> VmState::map_memory() {
    const auto slots = config_.memory->slots();
    const auto same = [](const memory::Slot& a, const memory::Slot& b) {
        return a.size == b.size && a.host == b.host && a.readonly == b.readonly;
    };
    const base::MutexLock lock(mutex_);
    mapped_.resize(slots.size());
    // KVM changes neither size nor place nor rights of a slot: it goes and comes again.
    for (unsigned i = 0; i < slots.size(); ++i) {
        memory::Slot& mapped = mapped_[i].slot;
        if (!mapped.size || same(mapped, slots[i])) continue;
        mapped.size = 0;
        if (auto r = set_memory(i, mapped, false); !r) return r;
    }
    for (unsigned i = 0; i < slots.size(); ++i) {
        if (!slots[i].size || same(mapped_[i].slot, slots[i])) continue;
        if (auto r = set_memory(i, slots[i], mapped_[i].log); !r) return r;
        mapped_[i].slot = slots[i];
    }
    return {};
}

Result<void> VmState::set_dirty_log(unsigned slot, bool on) {
    if (auto r = dma_log_.set(slot, on); !r) return r;
    const base::MutexLock lock(mutex_);
    Mapped& m = mapped_[slot];
    m.log = on;
    if (!m.slot.size) return {};
    // A log that is on already is begun anew.
    if (on)
        if (auto r = set_memory(slot, m.slot, false); !r) return r;
    return set_memory(slot, m.slot, on);
}

Result<memory::PageBitmap> VmState::take_dirty_log(unsigned slot) {
    auto pages = dma_log_.take(slot);
    if (!pages || pages->empty()) return pages;
    memory::PageBitmap written(pages->size());
    kvm_dirty_log log{};
    log.slot = slot;
    log.dirty_bitmap = written.data();
    if (call(fd(), KVM_GET_DIRTY_LOG, &log) < 0) return fail_errno("KVM: KVM_GET_DIRTY_LOG");
    for (size_t i = 0; i < written.size(); ++i) (*pages)[i] |= written[i];
    return pages;
}

Result<void> VmState::set_policy() {
    // MSRs that KVM does not know come here, to be counted and answered with #GP; with chips of ours those of
    // the local APIC too.
    u32 reasons = KVM_MSR_EXIT_REASON_UNKNOWN;
    if (user_chips_) reasons |= KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_FILTER;
    reasons &= static_cast<u32>(device_.capability(KVM_CAP_X86_USER_SPACE_MSR));
    if (reasons)
        if (auto r = enable(fd(), KVM_CAP_X86_USER_SPACE_MSR, reasons); !r) return r;
    if (!user_chips_ || !device_.can_filter_msrs()) return {};
    u8 none = 0;
    kvm_msr_filter filter{};
    filter.flags = KVM_MSR_FILTER_DEFAULT_ALLOW;
    filter.ranges[0].flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
    filter.ranges[0].base = msr_tsc_deadline;
    filter.ranges[0].nmsrs = 1;
    filter.ranges[0].bitmap = &none;
    if (call(fd(), KVM_X86_SET_MSR_FILTER, &filter) < 0) return fail_errno("KVM: KVM_X86_SET_MSR_FILTER");
    return {};
}

}  // namespace triune::hypervisor::kvm
