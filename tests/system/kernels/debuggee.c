// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
// A kernel to be debugged: calls, variables, and an end on demand.
volatile long counter, readable = 7, both = 9, rounds, quit;

__attribute__((noinline)) long inner(long a) {
    counter += a;
    return counter * 2;
}

__attribute__((noinline)) long outer(long n) {
    long sum = 0;
    for (long i = 1; i <= n; ++i) sum += inner(i);
    return sum;
}

__attribute__((noinline)) long touch(void) {
    long value = readable;
    both = value + 1;
    return both;
}

void main(void) {
#ifdef CRASH
    static const struct { unsigned short limit; unsigned long base; } __attribute__((packed)) none = {0, 0};
    __asm__ volatile("lidt %0" : : "m"(none));
    *(volatile long *)0x7000000000 = 1;
#endif
    for (;;) {
        outer(3);
        touch();
        ++rounds;
        if (quit) __asm__ volatile("outb %0, %1" : : "a"((unsigned char)quit), "Nd"((unsigned short)0xf4));
    }
}
