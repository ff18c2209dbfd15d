// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "backend/disk.h"
#include "backend/slirp_net.h"
#include "machine/backends.h"

namespace triune::machine {

namespace {

/// What the definition names cannot be had: the user can mend that.
std::unexpected<VmError> unusable(const Error& e) { return std::unexpected(VmError{e.message, true}); }

std::vector<backend::PortForward> to_backend(const NetConfig& net) {
    std::vector<backend::PortForward> forwards;
    for (const HostForward& f : net.forwards)
        forwards.push_back({f.udp, f.host_address, f.host_port, f.guest_address, f.guest_port});
    return forwards;
}

Result<std::unique_ptr<backend::CharBackend>> make_terminal(const SerialConfig& serial, base::EventLoop& loop,
                                                            backend::TerminalCommands commands) {
    switch (serial.kind) {
        case SerialConfig::Kind::stdio: return backend::make_stdio_char(loop, std::move(commands));
        case SerialConfig::Kind::file: return backend::make_file_char(serial.path);
        case SerialConfig::Kind::unix_socket: return backend::make_unix_char(loop, serial.path);
        case SerialConfig::Kind::pty: return backend::make_pty_char(loop);
        case SerialConfig::Kind::none: break;
    }
    return backend::make_null_char();
}

}  // namespace

std::expected<Backends, VmError> make_backends(const VmDefinition& definition, base::EventLoop& loop,
                                               backend::TerminalCommands commands) {
    Backends all;
    for (const DiskConfig& disk : definition.disks) {
        auto opened = backend::open_raw_disk(disk.path, disk.readonly);
        if (!opened) return unusable(opened.error());
        all.disks.push_back(std::move(*opened));
    }
    if (definition.net) {
        auto net = backend::make_slirp_net(loop, to_backend(*definition.net));
        if (!net) return unusable(net.error());
        all.net = std::move(*net);
    }
    using Kind = SerialConfig::Kind;
    if (definition.serial.kind == Kind::stdio && definition.console.kind == Kind::stdio)
        return std::unexpected(VmError{
            "--serial and --console cannot both be stdio: choose none or another place for one of them",
            true});
    if (definition.console.kind != Kind::none) {
        auto console = make_terminal(definition.console, loop, commands);
        if (!console) return unusable(console.error());
        all.console = std::move(*console);
    }
    auto serial = make_terminal(definition.serial, loop, std::move(commands));
    if (!serial) return unusable(serial.error());
    all.serial = std::move(*serial);
    for (const DeviceConfig& device : definition.devices) {
        if (device.kind != DeviceConfig::Kind::debugcon) continue;
        auto output =
            device.path.empty() ? backend::make_stdout_char() : backend::make_file_char(device.path);
        if (!output) return unusable(output.error());
        all.debug_consoles.push_back(std::move(*output));
    }
    return all;
}

}  // namespace triune::machine
