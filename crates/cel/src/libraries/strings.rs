//! Strings (rule: cel-go `ext/strings.go`, version 2).

pub(super) const TABLE: &[&str] = &[
    "string.charAt(int) string",
    "string.format(list(dyn)) string",
    "string.indexOf(string) int",
    "string.indexOf(string, int) int",
    "list(string).join() string",
    "list(string).join(string) string",
    "string.lastIndexOf(string) int",
    "string.lastIndexOf(string, int) int",
    "string.lowerAscii() string",
    "strings.quote(string) string",
    "string.replace(string, string) string",
    "string.replace(string, string, int) string",
    "string.split(string) list(string)",
    "string.split(string, int) list(string)",
    "string.substring(int) string",
    "string.substring(int, int) string",
    "string.trim() string",
    "string.upperAscii() string",
];
