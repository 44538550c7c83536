//! Command-line flags in upstream's form (pflag): one table from which parsing and help derive.
//!
//! `--name=value`, `--name value`, `--bool`, `--bool=false`, `-v 2`, and `_` for `-` in names are all accepted. A list
//! flag may be repeated and may hold commas. Wrong flags end the program with a clear line and exit code 1, as upstream.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; the bare flag means true.
    Bool,
    /// Any text.
    Text,
    /// An integer.
    Int,
    /// A number.
    Float,
    /// A Go duration such as `1h30m`, `500ms`.
    Duration,
    /// Comma-separated, may be repeated.
    List,
    /// `key=value` pairs, comma-separated, may be repeated.
    Map,
}

impl Kind {
    fn shown(self) -> &'static str {
        match self {
            Self::Bool => "",
            Self::Text => " string",
            Self::Int => " int",
            Self::Float => " float",
            Self::Duration => " duration",
            Self::List => " strings",
            Self::Map => " mapStringString",
        }
    }
}

/// One line of a component's table of flags.
#[derive(Debug)]
pub struct Flag {
    /// Heading under which help lists it (`Etcd`, `Secure serving`, ...).
    pub group: &'static str,
    /// Without the dashes.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Its default as text; empty for none.
    pub default: &'static str,
    /// One sentence for help.
    pub help: &'static str,
}

/// Short for a line of a table.
pub const fn flag(
    group: &'static str,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { group, name, kind, default, help }
}

/// Flags that every component has: logs, feature gates, help and version.
pub const COMMON: &[Flag] = &[
    flag("Logs", "v", Kind::Int, "0", "Number for the log level verbosity."),
    flag("Logs", "vmodule", Kind::List, "", "Comma-separated pattern=N settings for file-filtered logging."),
    flag("Logs", "logging-format", Kind::Text, "text", "Log format: \"text\" or \"json\"."),
    flag("Logs", "log-flush-frequency", Kind::Duration, "5s", "Longest time between two flushes of the log."),
    flag("Logs", "log-json-info-buffer-size", Kind::Text, "0", "Buffer of info messages in JSON format."),
    flag("Logs", "log-json-split-stream", Kind::Bool, "false", "Write JSON errors to stderr and info to stdout."),
    flag("Logs", "log-text-info-buffer-size", Kind::Text, "0", "Buffer of info messages in text format."),
    flag("Logs", "log-text-split-stream", Kind::Bool, "false", "Write text errors to stderr and info to stdout."),
    flag("Generic", "feature-gates", Kind::Map, "", "Pairs that switch features on and off."),
    flag("Global", "help", Kind::Bool, "false", "Help for this command."),
    flag("Global", "version", Kind::Text, "false", "Print version information and quit; --version=raw prints more."),
];

/// The values given, over the defaults of the tables.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    kinds: HashMap<&'static str, (Kind, &'static str)>,
    given: HashMap<&'static str, Vec<String>>,
}

/// What went wrong, in upstream's words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// No such flag.
    #[error("unknown flag: --{0}")]
    Unknown(String),
    /// No such one-letter flag.
    #[error("unknown shorthand flag: '{0}' in -{1}")]
    UnknownShort(char, String),
    /// The value is missing.
    #[error("flag needs an argument: --{0}")]
    NoValue(String),
    /// The value does not parse.
    #[error("invalid argument {1:?} for \"--{0}\" flag: {2}")]
    Bad(String, String, String),
    /// A word that is no flag.
    #[error("unknown command {0:?}")]
    Argument(String),
}

impl Flags {
    /// Parses `args` (without the program's name) by `tables`.
    pub fn parse(tables: &[&'static [Flag]], args: impl IntoIterator<Item = String>) -> Result<Self, FlagError> {
        let mut flags = Self::default();
        for f in tables.iter().copied().flatten() {
            flags.kinds.insert(f.name, (f.kind, f.default));
        }
        let mut args = args.into_iter().peekable();
        while let Some(arg) = args.next() {
            let (name, value) = match split(&arg)? {
                Some(x) => x,
                None => return Err(FlagError::Argument(arg)),
            };
            let name = name.replace('_', "-");
            let Some((&name, &(kind, _))) = flags.kinds.get_key_value(name.as_str()) else {
                return Err(FlagError::Unknown(name));
            };
            let bare = kind == Kind::Bool || name == "version";
            let value = match value {
                Some(v) => v,
                None if bare => "true".to_owned(),
                None => args.next().ok_or_else(|| FlagError::NoValue(name.to_owned()))?,
            };
            check(name, kind, &value)?;
            let slot = flags.given.entry(name).or_default();
            if !matches!(kind, Kind::List | Kind::Map) {
                slot.clear();
            }
            slot.push(value);
        }
        Ok(flags)
    }

    fn kind_of(&self, name: &str) -> (Kind, &'static str) {
        *self.kinds.get(name).unwrap_or_else(|| panic!("flag --{name} is read but stands in no table"))
    }

    /// Whether the user gave it.
    pub fn is_set(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }
    /// Its text, or its default's.
    pub fn text(&self, name: &str) -> &str {
        let default = self.kind_of(name).1;
        self.given.get(name).and_then(|v| v.last()).map_or(default, String::as_str)
    }
    /// Its text, if it is given and not empty.
    pub fn path(&self, name: &str) -> Option<std::path::PathBuf> {
        Some(self.text(name)).filter(|s| !s.is_empty()).map(Into::into)
    }
    /// Its truth.
    pub fn bool(&self, name: &str) -> bool {
        matches!(self.text(name), "true" | "1" | "t" | "T" | "TRUE" | "True")
    }
    /// Its number; 0 for none.
    pub fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }
    /// Its number; 0 for none.
    pub fn float(&self, name: &str) -> f64 {
        self.text(name).parse().unwrap_or(0.0)
    }
    /// Its length of time; zero for none.
    pub fn duration(&self, name: &str) -> Duration {
        parse_duration(self.text(name)).unwrap_or(Duration::ZERO)
    }
    /// Its items.
    pub fn list(&self, name: &str) -> Vec<String> {
        let default = [self.kind_of(name).1.to_owned()];
        let given = self.given.get(name).map_or(&default[..], Vec::as_slice);
        given
            .iter()
            .flat_map(|s| s.trim_start_matches('[').trim_end_matches(']').split(','))
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect()
    }
    /// Its pairs; a word without `=` has an empty value.
    pub fn map(&self, name: &str) -> Vec<(String, String)> {
        self.list(name)
            .into_iter()
            .map(|s| s.split_once('=').map_or((s.clone(), String::new()), |(k, v)| (k.trim().into(), v.trim().into())))
            .collect()
    }
    /// Every flag with its value, sorted, as `/flagz` shows them.
    pub fn all(&self) -> Vec<(&'static str, String)> {
        let mut all: Vec<_> = self
            .kinds
            .keys()
            .map(|n| (*n, self.given.get(n).map_or_else(|| self.text(n).to_owned(), |v| v.join(","))))
            .collect();
        all.sort_unstable();
        all
    }
}

fn split(arg: &str) -> Result<Option<(String, Option<String>)>, FlagError> {
    if let Some(long) = arg.strip_prefix("--") {
        return Ok(Some(match long.split_once('=') {
            Some((n, v)) => (n.to_owned(), Some(v.to_owned())),
            None => (long.to_owned(), None),
        }));
    }
    let Some(short) = arg.strip_prefix('-').filter(|s| !s.is_empty()) else { return Ok(None) };
    let mut chars = short.chars();
    let (first, rest) = (chars.next().unwrap_or('-'), chars.as_str());
    let name = match first {
        'v' => "v",
        'h' => "help",
        c => return Err(FlagError::UnknownShort(c, short.to_owned())),
    };
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Ok(Some((name.to_owned(), if rest.is_empty() { None } else { Some(rest.to_owned()) })))
}

fn check(name: &str, kind: Kind, value: &str) -> Result<(), FlagError> {
    let bad = |why: String| Err(FlagError::Bad(name.to_owned(), value.to_owned(), why));
    match kind {
        Kind::Bool
            if !["true", "false", "1", "0", "t", "f", "T", "F", "TRUE", "FALSE", "True", "False"].contains(&value) =>
        {
            bad(format!("strconv.ParseBool: parsing {value:?}: invalid syntax"))
        }
        Kind::Int if value.parse::<i64>().is_err() => {
            bad(format!("strconv.ParseInt: parsing {value:?}: invalid syntax"))
        }
        Kind::Float if value.parse::<f64>().is_err() => {
            bad(format!("strconv.ParseFloat: parsing {value:?}: invalid syntax"))
        }
        Kind::Duration if parse_duration(value).is_none() => bad(format!("time: invalid duration {value:?}")),
        _ => Ok(()),
    }
}

/// A Go duration: `1h2m3s`, `1.5s`, `100ms`, `0`; negative ones count as invalid.
pub fn parse_duration(s: &str) -> Option<Duration> {
    if s == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (s, 0f64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..unit_len] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit_len..];
    }
    // Go counts nanoseconds in 63 bits.
    if total > i64::MAX as f64 / 1e9 {
        return None;
    }
    Duration::try_from_secs_f64(total).ok()
}

/// The help text: usage, then the flags under their groups.
pub fn help(binary: &str, about: &str, tables: &[&'static [Flag]]) -> String {
    let mut out = format!("{about}\n\nUsage:\n  {binary} [flags]\n");
    let mut groups: Vec<&str> = Vec::new();
    for f in tables.iter().copied().flatten() {
        if !groups.contains(&f.group) {
            groups.push(f.group);
        }
    }
    for g in groups {
        let _ = write!(out, "\n{g} flags:\n\n");
        let mut flags: Vec<&Flag> = tables.iter().copied().flatten().filter(|f| f.group == g).collect();
        flags.sort_by_key(|f| f.name);
        for f in flags {
            let dashes = match f.name {
                "v" => "  -v, --".to_owned(),
                "help" => "  -h, --".to_owned(),
                _ => "      --".to_owned(),
            };
            let default = match f.default {
                "" | "false" | "0" => String::new(),
                d => format!(" (default {d})"),
            };
            let _ = writeln!(out, "{dashes}{}{}\n                {}{default}", f.name, f.kind.shown(), f.help);
        }
    }
    out
}

/// Parses the program's own arguments. `--help` and `--version` print and exit 0; mistakes print a line and exit 1.
pub fn parse_or_exit(binary: &str, about: &str, tables: &[&'static [Flag]]) -> Flags {
    match Flags::parse(tables, std::env::args().skip(1)) {
        Ok(f) if f.bool("help") => {
            print!("{}", help(binary, about, tables));
            std::process::exit(0)
        }
        Ok(f) if f.text("version") == "raw" => {
            println!("{}", crate::version::info());
            std::process::exit(0)
        }
        Ok(f) if f.bool("version") => {
            println!("Kubernetes {}", crate::version::GIT_VERSION);
            std::process::exit(0)
        }
        Ok(f) => f,
        Err(FlagError::Argument(word)) => {
            eprintln!("Error: unknown command {word:?} for {binary:?}");
            std::process::exit(1)
        }
        Err(e) => {
            eprintln!("Error: {e}\nUsage:\n  {binary} [flags]\n\nSee '{binary} --help' for the list of flags.");
            std::process::exit(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] = &[
        flag("A", "secure-port", Kind::Int, "6443", "Port."),
        flag("A", "on", Kind::Bool, "false", "Switch."),
        flag("A", "hosts", Kind::List, "", "Hosts."),
        flag("B", "wait", Kind::Duration, "1m0s", "Wait."),
    ];

    fn parse(args: &[&str]) -> Result<Flags, FlagError> {
        Flags::parse(&[TABLE, COMMON], args.iter().map(ToString::to_string))
    }

    #[test]
    fn forms_of_flags() {
        let f = parse(&["--secure_port", "1", "--on", "--hosts=a,b", "--hosts", "c", "-v=4"]).expect("parses");
        assert_eq!((f.int("secure-port"), f.bool("on"), f.int("v")), (1, true, 4));
        assert_eq!(f.list("hosts"), ["a", "b", "c"]);
        assert_eq!(f.duration("wait"), Duration::from_secs(60));
        assert!(!f.is_set("wait"));
    }

    #[test]
    fn mistakes_are_told_as_upstream_tells_them() {
        let check = |args: &[&str], want: &str| assert_eq!(parse(args).expect_err("fails").to_string(), want);
        check(&["--nope"], "unknown flag: --nope");
        check(&["--secure-port"], "flag needs an argument: --secure-port");
        check(
            &["--secure-port=x"],
            "invalid argument \"x\" for \"--secure-port\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        );
        check(&["--wait=5"], "invalid argument \"5\" for \"--wait\" flag: time: invalid duration \"5\"");
    }

    #[test]
    fn durations() {
        let check = |s: &str, want: Option<f64>| assert_eq!(parse_duration(s).map(|d| d.as_secs_f64()), want, "{s}");
        check("1h30m", Some(5400.0));
        check("1.5s", Some(1.5));
        check("250ms", Some(0.25));
        check("0", Some(0.0));
        check("", None);
        check("-1s", None);
        check("1x", None);
        check("2562047h", Some(9_223_369_200.0));
        check("2562048h", None);
    }
}
