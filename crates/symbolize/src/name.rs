//! Symbol names as people want to read them: no compiler suffixes, no argument lists, no control characters.

/// ours: a stack of forty such frames still fits on a screen's worth of text.
const LONGEST: usize = 160;

/// Suffixes that compilers give to copies and parts of a function.
const PART_SUFFIXES: [&str; 6] = [".isra.", ".constprop.", ".part.", ".cold", ".llvm.", ".lto_priv."];

/// A symbol as it is shown. `symbol` is demangled where it could be.
pub(crate) fn shown(symbol: &str) -> String {
    let mut name = clean(symbol);
    // glibc's own name for a function that it also exports.
    if let Some(exported) = name.strip_prefix("__GI_").filter(|rest| !rest.is_empty()) {
        name = exported.to_owned();
    }
    if let Some(at) = name.find(" [clone ") {
        name.truncate(at);
    }
    if let Some(at) = PART_SUFFIXES.iter().filter_map(|suffix| name.find(suffix)).min()
        && at > 0
        && !name.contains(['(', '<', ' ', ':', '/'])
    {
        name.truncate(at);
    }
    if let Some(short) = without_signature(&name) {
        name = short;
    }
    if name.chars().count() > LONGEST {
        name = without_inner_arguments(&name);
    }
    capped(&name)
}

/// Any text of a foreign process, harmless to print: control characters become `?`; at most 160 characters.
pub(crate) fn foreign(text: &str) -> String {
    capped(&clean(text))
}

/// A function as a runtime names it. The JVM writes signatures, most others a source file as well.
pub(crate) fn compiled(symbol: &str) -> String {
    let name = clean(symbol);
    let short = if name.contains('/') { None } else { without_signature(&name) };
    capped(&short.unwrap_or(name))
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn capped(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        None => name.to_owned(),
        Some((at, _)) => format!("{}…", &name[..at]),
    }
}

/// A demangled C++ function without its argument list and result type, as `perf` shows it; `None` when it is not one
/// or its operators make brackets ambiguous.
fn without_signature(name: &str) -> Option<String> {
    const CODE_SUFFIXES: [&str; 4] = [" const", " volatile", "&&", "&"];
    if ["operator<", "operator>", "operator(", "operator-"].iter().any(|operator| name.contains(operator)) {
        return None;
    }
    let mut end = name;
    while let Some(shorter) = CODE_SUFFIXES.iter().find_map(|suffix| end.strip_suffix(suffix)) {
        end = shorter.trim_end();
    }
    if !end.ends_with(')') || end.ends_with("(anonymous namespace)") {
        return None;
    }
    let mut depth = 0usize;
    let open = end.char_indices().rev().find_map(|(at, c)| {
        match c {
            ')' => depth += 1,
            '(' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (c == '(' && depth == 0).then_some(at)
    })?;
    let head = &end[..open];
    if head.is_empty() {
        return None;
    }
    if head.contains("operator") {
        return Some(head.to_owned());
    }
    // The result type ends at the last space outside any bracket.
    let mut depth = 0usize;
    let begin = head.char_indices().rev().find_map(|(at, c)| {
        match c {
            ')' | '>' | ']' | '}' => depth += 1,
            '(' | '<' | '[' | '{' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (c == ' ' && depth == 0).then_some(at + 1)
    });
    let function = &head[begin.unwrap_or(0)..];
    (!function.is_empty()).then(|| function.to_owned())
}

/// `a<b<c>, d>::e` as `a<…>::e`.
fn without_inner_arguments(name: &str) -> String {
    let mut short = String::new();
    let mut depth = 0usize;
    let mut last = ' ';
    for c in name.chars() {
        match c {
            '<' => {
                if depth == 0 {
                    short.push_str("<…");
                }
                depth += 1;
            }
            // Not the arrow of a function type.
            '>' if depth > 0 && last != '-' => {
                depth -= 1;
                if depth == 0 {
                    short.push('>');
                }
            }
            _ if depth == 0 => short.push(c),
            _ => {}
        }
        last = c;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_parts_lose_their_suffix() {
        assert_eq!(shown("tcp_ack.isra.0"), "tcp_ack");
        assert_eq!(shown("do_work.constprop.0.cold"), "do_work");
        assert_eq!(shown("foo.llvm.1234567"), "foo");
        assert_eq!(shown(".part.0"), ".part.0");
        assert_eq!(shown("__GI___poll"), "__poll");
        assert_eq!(shown("main.coldStart"), "main");
        assert_eq!(shown("net/http.(*conn).serve"), "net/http.(*conn).serve");
    }

    #[test]
    fn cpp_loses_arguments_and_result() {
        assert_eq!(shown("ns::work(int, std::string const&) const"), "ns::work");
        assert_eq!(shown("void ns::work<int>(int)"), "ns::work<int>");
        assert_eq!(shown("(anonymous namespace)::f(char*)"), "(anonymous namespace)::f");
        assert_eq!(shown("S::operator==(S const&)"), "S::operator==");
        let shift = "std::ostream& std::operator<< <char>(std::ostream&, char const*)";
        assert_eq!(shown(shift), shift);
        assert_eq!(shown("f(int) [clone .cold]"), "f");
        assert_eq!(shown("main"), "main");
        assert_eq!(
            shown("<alloc::vec::Vec<T> as core::clone::Clone>::clone"),
            "<alloc::vec::Vec<T> as core::clone::Clone>::clone"
        );
    }

    #[test]
    fn long_and_hostile_names_are_tamed() {
        let long = format!("a<{}>::method", "b<c>, ".repeat(80));
        assert_eq!(shown(&long), "a<…>::method");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), LONGEST + 1);
        assert_eq!(foreign("a\nb\x1b[2J"), "a?b?[2J");
        assert_eq!(compiled("void java.lang.Object.<init>(int, java.lang.String)"), "java.lang.Object.<init>");
        assert_eq!(compiled("py::work:/srv/app (1)"), "py::work:/srv/app (1)");
        assert_eq!(shown(")("), ")(");
        assert_eq!(shown("()"), "()");
        assert_eq!(shown(">>)"), ">>)");
    }
}
