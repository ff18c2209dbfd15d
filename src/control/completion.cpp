// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "control/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <sstream>
#include <vector>

namespace triune::control {
namespace {

struct OptionWords {
    std::string name;  ///< with dashes
    std::string description;
    bool takes_value = false;
    bool takes_file = false;
    std::vector<std::string> choices;
};

/// Words among which a value is chosen, from a type name such as "auto|bt|interp".
std::vector<std::string> choices_of(const std::string& type) {
    std::vector<std::string> words;
    std::istringstream in(type);
    for (std::string word; std::getline(in, word, '|');) {
        // "file:PATH" completes to "file:"; "user[,…]" to "user"; FILE and N are not words.
        if (const auto cut = word.find_first_of("[P"); cut != std::string::npos) word.resize(cut);
        if (!word.empty() && word.find_first_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ") == std::string::npos)
            words.push_back(word);
    }
    return words;
}

std::vector<OptionWords> options_of(const CLI::App& command) {
    std::vector<OptionWords> all;
    for (const CLI::Option* o : command.get_options()) {
        for (const std::string& name : o->get_lnames()) {
            const std::string type = o->get_type_size() == 0 ? "" : o->get_type_name();
            all.push_back({"--" + name, o->get_description(), o->get_items_expected_max() > 0,
                           type.find("FILE") != std::string::npos, choices_of(type)});
        }
    }
    return all;
}

std::string names_of(const std::vector<const CLI::App*>& commands) {
    std::string names;
    for (const CLI::App* c : commands) names += (names.empty() ? "" : " ") + c->get_name();
    return names;
}

std::string single_quoted(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

std::string bash(const std::vector<const CLI::App*>& commands) {
    std::string s =
        "# bash completion for triune; source it or put it into /etc/bash_completion.d\n"
        "_triune() {\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}\n"
        "    COMPREPLY=()\n"
        "    if ((COMP_CWORD == 1)); then\n";
    s += fmt::format(
        "        COMPREPLY=($(compgen -W '{} --help --version' -- \"$cur\"))\n        return\n    fi\n"
        "    case \"$command $prev\" in\n",
        names_of(commands));
    for (const CLI::App* c : commands) {
        for (const OptionWords& o : options_of(*c)) {
            if (o.takes_file)
                s += fmt::format(
                    "        '{} {}') compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return "
                    ";;\n",
                    c->get_name(), o.name);
            else if (!o.choices.empty())
                s += fmt::format("        '{} {}') COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return ;;\n",
                                 c->get_name(), o.name, fmt::join(o.choices, " "));
            else if (o.takes_value)
                s += fmt::format("        '{} {}') return ;;\n", c->get_name(), o.name);
        }
    }
    s += "    esac\n    case $command in\n";
    for (const CLI::App* c : commands) {
        std::string words;
        for (const OptionWords& o : options_of(*c)) words += o.name + " ";
        if (c->get_name() == "completion") words += fmt::format("{}", fmt::join(completion_shells, " "));
        s += fmt::format("        {}) COMPREPLY=($(compgen -W '{}' -- \"$cur\")) ;;\n", c->get_name(), words);
    }
    return s + "    esac\n}\ncomplete -F _triune triune\n";
}

std::string zsh(const std::vector<const CLI::App*>& commands) {
    std::string s =
        "#compdef triune\n# zsh completion for triune; put it into a folder of $fpath as _triune\n"
        "_triune() {\n    if ((CURRENT == 2)); then\n        local -a commands=(\n";
    for (const CLI::App* c : commands)
        s += fmt::format("            {}\n", single_quoted(c->get_name() + ":" + c->get_description()));
    s +=
        "        )\n        _describe command commands\n        return\n    fi\n    local command=$words[2]\n"
        "    shift words\n    ((CURRENT--))\n    case $command in\n";
    for (const CLI::App* c : commands) {
        s += fmt::format("        {})\n            _arguments", c->get_name());
        for (const OptionWords& o : options_of(*c)) {
            std::string description;
            for (const char ch : o.description) description += ch == '[' ? '(' : ch == ']' ? ')' : ch;
            std::string item = fmt::format("*{}[{}]", o.name, description);
            if (o.takes_file)
                item += ":file:_files";
            else if (!o.choices.empty())
                item += fmt::format(":value:({})", fmt::join(o.choices, " "));
            else if (o.takes_value)
                item += ":value:";
            s += " \\\n                " + single_quoted(item);
        }
        if (c->get_name() == "completion")
            s += fmt::format(" \\\n                ':shell:({})'", fmt::join(completion_shells, " "));
        s += "\n            ;;\n";
    }
    return s + "    esac\n}\n_triune \"$@\"\n";
}

std::string fish(const std::vector<const CLI::App*>& commands) {
    std::string s =
        "# fish completion for triune; put it into ~/.config/fish/completions/triune.fish\n"
        "complete -c triune -f\n";
    for (const CLI::App* c : commands) {
        s += fmt::format("complete -c triune -n __fish_use_subcommand -a {} -d {}\n", c->get_name(),
                         single_quoted(c->get_description()));
        const std::string here =
            fmt::format("complete -c triune -n '__fish_seen_subcommand_from {}'", c->get_name());
        for (const OptionWords& o : options_of(*c)) {
            s += fmt::format("{} -l {} -d {}", here, o.name.substr(2), single_quoted(o.description));
            if (o.takes_file)
                s += " -r -F";
            else if (!o.choices.empty())
                s += fmt::format(" -x -a '{}'", fmt::join(o.choices, " "));
            else if (o.takes_value)
                s += " -x";
            s += "\n";
        }
        if (c->get_name() == "completion")
            s += fmt::format("{} -a '{}'\n", here, fmt::join(completion_shells, " "));
    }
    return s;
}

}  // namespace

std::optional<std::string> completion_script(const CLI::App& app, std::string_view shell) {
    const std::vector<const CLI::App*> commands = app.get_subcommands([](const CLI::App*) { return true; });
    if (shell == "bash") return bash(commands);
    if (shell == "zsh") return zsh(commands);
    if (shell == "fish") return fish(commands);
    return {};
}

}  // namespace triune::control
