// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/message_events.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace triune::machine {

MessageEvents::~MessageEvents() {
    const base::MutexLock lock(mutex_);
    for (const auto& [message, event] : events_) remove(event);
}

bool MessageEvents::send(u64 address, u32 data) {
    const base::MutexLock lock(mutex_);
    auto at = events_.find({address, data});
    if (at == events_.end()) {
        if (events_.size() >= most) {
            for (const auto& [message, event] : events_) remove(event);
            events_.clear();
        }
        at = events_.emplace(std::pair(address, data), make(address, data)).first;
    }
    const u64 one = 1;
    return at->second.fd && ::write(at->second.fd.get(), &one, sizeof one) == sizeof one;
}

MessageEvents::Event MessageEvents::make(u64 address, u32 data) {
    base::Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) return {};
    const auto gsi = vm_.add_msi_gsi(address, data);
    if (!gsi) return {};
    if (!vm_.add_irq_event({.fd = fd.get(), .gsi = *gsi})) {
        vm_.remove_msi_gsi(*gsi);
        return {};
    }
    return {std::move(fd), *gsi};
}

void MessageEvents::remove(const Event& event) {
    if (!event.fd) return;
    (void)vm_.remove_irq_event({.fd = event.fd.get(), .gsi = event.gsi});
    vm_.remove_msi_gsi(event.gsi);
}

}  // namespace triune::machine
