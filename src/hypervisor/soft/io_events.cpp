// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/io_events.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <tuple>

#include "base/bits.h"
#include "hypervisor/check_event.h"

namespace triune::hypervisor::soft {
namespace {

auto key(const IoEvent& e) { return std::tuple(e.space, e.address); }

u64 value_of(const IoEvent& e) { return *e.value & base::low_mask(e.size * 8); }

/// Some write would belong to both.
bool collide(const IoEvent& a, const IoEvent& b) {
    if (key(a) != key(b) || a.size != b.size) return false;
    return !a.value || !b.value || value_of(a) == value_of(b);
}

}  // namespace

void IoEvents::publish(Table table) {
    table_ = table.empty() ? nullptr : std::make_shared<const Table>(std::move(table));
    generation_.fetch_add(1, std::memory_order_release);
}

Result<void> IoEvents::add(const IoEvent& event) {
    if (auto r = check_event(event); !r) return r;
    auto entry = std::make_shared<Entry>();
    entry->event = event;
    entry->fd = base::Fd(::fcntl(event.fd, F_DUPFD_CLOEXEC, 0));
    if (!entry->fd) return fail_errno("I/O event");
    const base::MutexLock lock(mutex_);
    Table table = table_ ? *table_ : Table{};
    if (std::ranges::any_of(table, [&](const auto& e) { return collide(e->event, event); }))
        return fail("another I/O event claims the same write", EEXIST);
    const auto at =
        std::ranges::upper_bound(table, key(entry->event), {}, [](const auto& e) { return key(e->event); });
    table.insert(at, std::move(entry));
    publish(std::move(table));
    return {};
}

Result<void> IoEvents::remove(const IoEvent& event) {
    const base::MutexLock lock(mutex_);
    Table table = table_ ? *table_ : Table{};
    if (std::erase_if(table, [&](const auto& e) { return e->event == event; }) == 0)
        return fail("there is no such I/O event", ENOENT);
    publish(std::move(table));
    return {};
}

void IoEvents::View::refresh() {
    const base::MutexLock lock(events_.mutex_);
    generation_ = events_.generation_.load(std::memory_order_relaxed);
    table_ = events_.table_;
}

bool IoEvents::View::find(IoEvent::Space space, u64 address, u64 value, unsigned size) const {
    const auto of_address = std::ranges::equal_range(*table_, std::tuple(space, address), {},
                                                     [](const auto& e) { return key(e->event); });
    for (const auto& entry : of_address) {
        const IoEvent& e = entry->event;
        if (e.size != size || (e.value && value_of(e) != (value & base::low_mask(size * 8)))) continue;
        const u64 one = 1;
        // Fails only when the counter is full, and then its reader has been told.
        [[maybe_unused]] const ssize_t n = ::write(entry->fd.get(), &one, sizeof one);
        return true;
    }
    return false;
}

}  // namespace triune::hypervisor::soft
