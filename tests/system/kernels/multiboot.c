// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// A kernel that prints all that a multiboot loader told it on port 0xe9, a line each, and ends
// through isa-debug-exit. Built with VERSION 1 or 2, and FLAGS for version 1.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#if VERSION == 1
#ifdef KLUDGE  // the header gives the addresses, the file need not be ELF
extern char load_start[], data_end[], bss_end[];
void start(void);
__attribute__((section(".header"), used)) struct {
    u32 magic, flags, checksum;
    void *header, *load, *load_end, *bss_end, *entry;
} header = {0x1badb002, 0x10003, -(0x1badb002 + 0x10003), &header, load_start, data_end, bss_end, start};
#else
__attribute__((section(".header"), used)) struct {
    u32 magic, flags, checksum;
} header = {0x1badb002, FLAGS, -(0x1badb002u + FLAGS)};
#endif
#else
__attribute__((section(".header"), used, aligned(8))) struct {
    u32 magic, architecture, length, checksum;
    struct {
        u16 type, flags;
        u32 size;
        u32 wanted[4];
    } request;
    struct {
        u16 type, flags;
        u32 size;
    } end;
} header = {0xe85250d6, 0, sizeof header, -(0xe85250d6u + sizeof header), {1, 0, 24, {1, 3, 6, 15}},
            {0, 0, 8}};
#endif

__asm__(
    ".text\n"
    ".globl start\n"
    "start:\n"
    "    movl $0x90000, %esp\n"
    "    push %ebx\n"
    "    push %eax\n"
    "    call main\n"
    "1:  hlt\n"
    "    jmp 1b\n");

static void out(u16 port, u32 value, int size) {
    if (size == 1)
        __asm__ volatile("outb %b0, %w1" : : "a"(value), "d"(port));
    else
        __asm__ volatile("outl %0, %w1" : : "a"(value), "d"(port));
}
static void put(char c) { out(0xe9, (u8)c, 1); }
static void text(const char *s) {
    while (*s) put(*s++);
}
static void hex(u64 v) {
    int shift = 60;
    while (shift && !(v >> shift)) shift -= 4;
    put('0');
    put('x');
    for (; shift >= 0; shift -= 4) {
        const int digit = v >> shift & 15;
        put(digit < 10 ? '0' + digit : 'a' + digit - 10);
    }
}
static void field(const char *name, u64 v) {
    put(' ');
    text(name);
    put('=');
    hex(v);
}
static void module(u32 start, u32 end, const char *string) {
    text("module");
    field("aligned", !(start & 0xfff));
    field("size", end - start);
    text(" text=");
    text(string);
    text(" content=");
    for (u32 i = 0; i < 16 && start + i < end; ++i) put(((char *)start)[i]);
    put('\n');
}
static void memory(u64 base, u64 size, u32 type) {
    text("map");
    field("base", base);
    field("size", size);
    field("type", type);
    put('\n');
}
static int same(const char *a, const char *b) {
    while (*a && *a == *b) ++a, ++b;
    return *a == *b;
}

struct elf_section {
    u32 name, type, flags, address, offset, size, link, info, alignment, entry_size;
};
static void sections(u32 count, u32 entry_size, struct elf_section *table, u32 names) {
    text("sections");
    field("entry_size", entry_size);
    put('\n');
    if (entry_size != sizeof *table) return;
    const char *strings = (const char *)table[names].address;
    for (u32 i = 0; i < count; ++i)
        if (same(strings + table[i].name, ".symtab") || same(strings + table[i].name, ".header")) {
            text("section ");
            text(strings + table[i].name);
            text(table[i].address ? " loaded\n" : " absent\n");
        }
}

u32 initialized = 0x12345678;
u32 zeroed[1000];

static void version1(u32 *info) {
    const u32 flags = info[0];
    field("flags", flags);
    put('\n');
    text("lower_kb");
    field("is", info[1]);
    field("upper", info[2]);
    put('\n');
    if (flags & 1 << 2) text("cmdline="), text((char *)info[4]), put('\n');
    if (flags & 1 << 3) {
        u32 *m = (u32 *)info[6];
        for (u32 i = 0; i < info[5]; ++i, m += 4) module(m[0], m[1], (char *)m[2]);
    }
    if (flags & 1 << 5) sections(info[7], info[8], (struct elf_section *)info[9], info[10]);
    if (flags & 1 << 6)
        for (u32 at = info[12]; at < info[12] + info[11]; at += *(u32 *)at + 4)
            memory(*(u64 *)(at + 4), *(u64 *)(at + 12), *(u32 *)(at + 20));
    if (flags & 1 << 9) text("loader="), text((char *)info[16]), put('\n');
}

static void version2(u8 *info) {
    field("total", *(u32 *)info);
    put('\n');
    for (u8 *tag = info + 8; *(u32 *)tag; tag += (*(u32 *)(tag + 4) + 7) & ~7u) {
        u32 *words = (u32 *)tag;
        switch (words[0]) {
            case 1: text("cmdline="), text((char *)tag + 8), put('\n'); break;
            case 2: text("loader="), text((char *)tag + 8), put('\n'); break;
            case 3: module(words[2], words[3], (char *)tag + 16); break;
            case 4: text("lower_kb"), field("is", words[2]), field("upper", words[3]), put('\n'); break;
            case 6:
                for (u8 *e = tag + 16; e < tag + words[1]; e += words[2])
                    memory(*(u64 *)e, *(u64 *)(e + 8), *(u32 *)(e + 16));
                break;
            case 9: sections(words[2], words[3], (struct elf_section *)(tag + 20), words[4]); break;
            case 14: text("rsdp1 "), put(tag[8]), put(tag[15]), put('\n'); break;
            case 15: {
                u8 sum = 0;
                for (u32 i = 8; i < words[1]; ++i) sum += tag[i];
                text("rsdp2"), field("revision", tag[8 + 15]), field("sum", sum), put('\n');
                break;
            }
            case 21: text("load_base"), field("is", words[2]), put('\n'); break;
            default: text("tag"), field("type", words[0]), put('\n'); break;
        }
    }
    if ((u32)info & 7) text("not aligned\n");
}

__attribute__((used)) void main(u32 magic, u32 info) {
    u32 flags, cr0;
    __asm__("pushfl; pop %0" : "=r"(flags));
    __asm__("mov %%cr0, %0" : "=r"(cr0));
    text("magic");
    field("is", magic);
    field("if", flags >> 9 & 1);
    field("pe", cr0 & 1);
    field("pg", cr0 >> 31);
    u32 dirty = initialized != 0x12345678;
    for (int i = 0; i < 1000; ++i) dirty |= zeroed[i];
    field("dirty", dirty);
    if (VERSION == 1)
        version1((u32 *)info);
    else
        version2((u8 *)info);
    // A wide write ends the machine with its low bits; a guest that goes on would write again.
    out(0xf4, 0x2a, 4);
    out(0xf4, 0, 1);
}
