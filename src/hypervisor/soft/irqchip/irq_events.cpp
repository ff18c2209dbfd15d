// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/irq_events.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>

#include "hypervisor/check_event.h"

namespace triune::hypervisor::soft::irqchip {
namespace {

base::Fd duplicate(int fd) { return base::Fd(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

}  // namespace

IrqEvents::IrqEvents(IrqChip& chip, base::EventLoop& loop) : chip_(chip), loop_(loop) {
    chip_.on_end_of_interrupt([this](unsigned gsi) { ended(gsi); });
}

IrqEvents::~IrqEvents() {
    std::vector<std::shared_ptr<Entry>> entries;
    {
        const base::MutexLock lock(mutex_);
        entries.swap(entries_);
        watch_ends();
    }
    for (const auto& e : entries) loop_.unwatch(e->fd.get());
}

Result<void> IrqEvents::add(const IrqEvent& event) {
    if (auto r = check_event(event); !r) return r;
    auto entry = std::make_shared<Entry>();
    entry->event = event;
    entry->fd = duplicate(event.fd);
    entry->resample_fd = duplicate(event.resample_fd);
    if (!entry->fd || (event.resample_fd >= 0 && !entry->resample_fd)) return fail_errno("interrupt event");
    {
        const base::MutexLock lock(mutex_);
        const bool line = event.gsi < IoApic::pins;
        if (!line && !messages_.contains(event.gsi))
            return fail(
                "interrupt event: GSI " + std::to_string(event.gsi) + " is neither a line nor a message",
                EINVAL);
        if (!line && event.resample_fd >= 0) return fail("interrupt event: a message has no level", EINVAL);
        if (std::ranges::any_of(entries_, [&](const auto& e) { return e->event.fd == event.fd; }))
            return fail("interrupt event: the eventfd raises an interrupt already", EBUSY);
        entries_.push_back(entry);
        watch_ends();
    }
    loop_.watch(entry->fd.get(), EPOLLIN, [this, entry](u32) { signalled(*entry); });
    return {};
}

Result<void> IrqEvents::remove(const IrqEvent& event) {
    std::shared_ptr<Entry> entry;
    {
        const base::MutexLock lock(mutex_);
        const auto at = std::ranges::find_if(entries_, [&](const auto& e) { return e->event == event; });
        if (at == entries_.end()) return fail("there is no such interrupt event", ENOENT);
        entry = *at;
        entries_.erase(at);
        watch_ends();
    }
    loop_.unwatch(entry->fd.get());
    if (event.resample_fd >= 0) chip_.set_gsi(event.gsi, false);
    return {};
}

Result<unsigned> IrqEvents::add_message(u64 address, u32 data) {
    const base::MutexLock lock(mutex_);
    for (unsigned gsi = IoApic::pins; gsi < IoApic::pins + max_messages; ++gsi)
        if (messages_.try_emplace(gsi, Message{address, data}).second) return gsi;
    return fail("too many interrupt messages: " + std::to_string(max_messages), ENOSPC);
}

void IrqEvents::remove_message(unsigned gsi) {
    const base::MutexLock lock(mutex_);
    messages_.erase(gsi);
}

void IrqEvents::signalled(const Entry& entry) {
    u64 count = 0;
    if (::read(entry.fd.get(), &count, sizeof count) != sizeof count) return;
    const unsigned gsi = entry.event.gsi;
    if (gsi >= IoApic::pins) {
        std::optional<Message> message;
        {
            const base::MutexLock lock(mutex_);
            if (const auto at = messages_.find(gsi); at != messages_.end()) message = at->second;
        }
        if (message) chip_.signal_msi(message->address, message->data);
        return;
    }
    chip_.set_gsi(gsi, true);
    if (entry.event.resample_fd < 0) chip_.set_gsi(gsi, false);
}

// On the thread of the vCPU that ended the interrupt. The line falls before anybody is told, so that who
// raises it again is not undone.
void IrqEvents::ended(unsigned gsi) {
    std::vector<std::shared_ptr<Entry>> waiting;
    {
        const base::MutexLock lock(mutex_);
        std::ranges::copy_if(entries_, std::back_inserter(waiting),
                             [&](const auto& e) { return e->event.gsi == gsi && e->event.resample_fd >= 0; });
    }
    if (waiting.empty()) return;
    chip_.set_gsi(gsi, false);
    const u64 one = 1;
    for (const auto& e : waiting) [[maybe_unused]]
        const ssize_t n = ::write(e->resample_fd.get(), &one, sizeof one);
}

void IrqEvents::watch_ends() {
    u32 gsis = 0;
    for (const auto& e : entries_)
        if (e->event.resample_fd >= 0) gsis |= 1u << e->event.gsi;
    chip_.watch_ends(gsis);
}

}  // namespace triune::hypervisor::soft::irqchip
