// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/test_machine.h"

namespace triune::hypervisor::soft::system {
namespace {

template <class Base>
class SyscallSetup : public Base {
protected:
    void SetUp() override {
        auto& st = this->st;
        st.star = u64{0x20} << 48 | u64{0x08} << 32 | 0x1234;
        st.lstar = 0xffff'ffff'8100'0000;
        st.cstar = 0xffff'ffff'8200'0000;
        st.sfmask = flag::if_ | flag::tf | flag::ac | flag::df;
        st.sysenter_cs = 0x08;
        st.sysenter_esp = 0xffff'8000'0000'1000;
        st.sysenter_eip = 0xffff'ffff'8300'0000;
    }
};
using Syscall = SyscallSetup<SystemTest>;
using AmdSyscall = SyscallSetup<AmdSystemTest>;
constexpr u64 noncanonical = 0x8000'0000'0000;

TEST_F(Syscall, EntersAndReturns) {
    user();
    st.rflags |= flag::cf | flag::df | flag::rf;
    EXPECT_OK(system.syscall(at::user_code + 2));
    EXPECT_EQ(st.rip, st.lstar);
    EXPECT_EQ(st.gpr[x86::rcx], at::user_code + 2);
    EXPECT_EQ(st.gpr[x86::r11], 0x202u | flag::cf | flag::df);
    EXPECT_EQ(st.rflags, 2u | flag::cf);
    EXPECT_EQ(st.seg[Seg::cs].selector, 0x08);
    EXPECT_EQ(st.seg[Seg::ss].selector, 0x10);
    EXPECT_EQ(st.cpl(), 0u);
    EXPECT_TRUE(st.code64());
    EXPECT_EQ(st.gpr[x86::rsp], at::user_stack);  // the kernel's business
    EXPECT_OK(system.sysret(64));
    EXPECT_EQ(st.rip, at::user_code + 2);
    EXPECT_EQ(st.rflags, 0x202u | flag::cf | flag::df);
    EXPECT_EQ(st.seg[Seg::cs].selector, 0x33);
    EXPECT_EQ(st.seg[Seg::ss].selector, 0x2b);
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_TRUE(st.code64());
}

TEST_F(Syscall, Sysret32GoesToCompatibilityMode) {
    st.gpr[x86::rcx] = 0xffff'ffff'1234'5678;
    st.gpr[x86::r11] = 0x202;
    EXPECT_OK(system.sysret(32));
    EXPECT_EQ(st.rip, 0x12345678u);
    EXPECT_EQ(st.seg[Seg::cs].selector, 0x23);
    EXPECT_FALSE(st.code64());
}

TEST_F(Syscall, NeedsSceAnd64BitMode) {
    user();
    compat_user();
    EXPECT_FAULT(system.syscall(0), Fault::ud());
    user();
    st.efer &= ~x86::efer::sce;
    EXPECT_FAULT(system.syscall(0), Fault::ud());
    EXPECT_FAULT(system.sysret(64), Fault::ud());
}

TEST_F(Syscall, SysretChecks) {
    user();
    EXPECT_FAULT(system.sysret(64), Fault::gp(0));
    kernel();
    st.gpr[x86::rcx] = noncanonical;
    EXPECT_FAULT(system.sysret(64), Fault::gp(0));
    EXPECT_EQ(st.cpl(), 0u);
}

TEST_F(Syscall, SysretNeverSetsVmOrRf) {
    st.gpr[x86::rcx] = 0x1000;
    st.gpr[x86::r11] = ~u64{0};
    EXPECT_OK(system.sysret(64));
    EXPECT_EQ(st.rflags, 0x3c7fd7u);
}

TEST_F(AmdSyscall, SysretLoadsANonCanonicalRip) {
    st.gpr[x86::rcx] = noncanonical;
    st.gpr[x86::r11] = 0x202;
    EXPECT_OK(system.sysret(64));
    EXPECT_EQ(st.rip, noncanonical);
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_FAULT(system.check_rip(st.rip), Fault::gp(0));
}

TEST_F(AmdSyscall, CompatibilityModeUsesCstar) {
    compat_user();
    EXPECT_OK(system.syscall(0x100002));
    EXPECT_EQ(st.rip, st.cstar);
    EXPECT_EQ(st.gpr[x86::rcx], 0x100002u);
    EXPECT_TRUE(st.code64());
}

TEST_F(AmdSyscall, LegacyModeUsesStar) {
    protected_user();
    st.efer = x86::efer::sce;
    st.gpr[x86::r11] = 77;
    EXPECT_OK(system.syscall(0x100002));
    EXPECT_EQ(st.rip, 0x1234u);
    EXPECT_EQ(st.gpr[x86::r11], 77u);
    EXPECT_FALSE(st.rflags & flag::if_);
    EXPECT_EQ(st.cpl(), 0u);
    EXPECT_OK(system.sysret(32));
    EXPECT_EQ(st.rip, 0x100002u);
    EXPECT_TRUE(st.rflags & flag::if_);
}

TEST_F(Syscall, SysenterAndSysexit) {
    compat_user();
    EXPECT_OK(system.sysenter());
    EXPECT_EQ(st.rip, st.sysenter_eip);
    EXPECT_EQ(st.gpr[x86::rsp], st.sysenter_esp);
    EXPECT_TRUE(st.code64());
    EXPECT_EQ(st.rflags, 2u);
    st.gpr[x86::rdx] = 0x100005;
    st.gpr[x86::rcx] = 0x120000;
    EXPECT_OK(system.sysexit(32));
    EXPECT_EQ(st.seg[Seg::cs].selector, 0x1b);
    EXPECT_EQ(st.seg[Seg::ss].selector, 0x23);
    EXPECT_FALSE(st.code64());
    kernel();
    EXPECT_OK(system.sysexit(64));
    EXPECT_EQ(st.seg[Seg::cs].selector, 0x2b);
    EXPECT_TRUE(st.code64());
    EXPECT_FAULT(system.sysexit(64), Fault::gp(0));  // CPL 3
    kernel();
    st.gpr[x86::rcx] = noncanonical;
    EXPECT_FAULT(system.sysexit(64), Fault::gp(0));
    st.sysenter_cs = 3;
    EXPECT_FAULT(system.sysenter(), Fault::gp(0));
}

TEST_F(AmdSyscall, NoSysenterInLongMode) {
    user();
    EXPECT_FAULT(system.sysenter(), Fault::ud());
    EXPECT_FAULT(system.sysexit(64), Fault::ud());
    protected_user();
    EXPECT_OK(system.sysenter());
    EXPECT_EQ(st.rip, 0x83000000u);
}

TEST_F(Syscall, Swapgs) {
    st.seg[Seg::gs].base = 1;
    st.kernel_gs_base = 2;
    EXPECT_OK(system.swapgs());
    EXPECT_EQ(st.seg[Seg::gs].base, 2u);
    EXPECT_EQ(st.kernel_gs_base, 1u);
    user();
    EXPECT_FAULT(system.swapgs(), Fault::gp(0));
    compat_user();
    EXPECT_FAULT(system.swapgs(), Fault::ud());
}

TEST_F(Syscall, Hypercalls) {
    st.gpr[x86::rax] = 0x77;
    EXPECT_OK(system.vmcall());
    EXPECT_EQ(st.gpr[x86::rax], static_cast<u64>(-1000));
    user();
    EXPECT_OK(system.vmcall());
    EXPECT_EQ(st.gpr[x86::rax], static_cast<u64>(-1));
    x86::CpuModel plain = model;
    std::erase_if(plain.leaves, [](const auto& l) { return l.function == 0x40000000; });
    vcpu->model = &plain;
    EXPECT_FAULT(system.vmcall(), Fault::ud());
}

}  // namespace
}  // namespace triune::hypervisor::soft::system
