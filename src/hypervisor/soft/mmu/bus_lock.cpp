// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <mutex>

#include "hypervisor/soft/mmu/mmu.h"

namespace triune::hypervisor::soft::mmu {
namespace {
std::mutex bus_mutex;
}

BusLock::BusLock() { bus_mutex.lock(); }
BusLock::~BusLock() { bus_mutex.unlock(); }

}  // namespace triune::hypervisor::soft::mmu
