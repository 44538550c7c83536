//! A few strings by name, in one allocation: the labels of an object, or its selectable fields.

/// Names and values, in one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Box<str>);

impl Pairs {
    /// From names and values. A NUL inside one of them, which no label has, becomes U+FFFD.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = String::new();
        for (name, value) in pairs {
            for part in [name, value] {
                if part.contains('\0') {
                    text.push_str(&part.replace('\0', "\u{fffd}"));
                } else {
                    text.push_str(part);
                }
                text.push('\0');
            }
        }
        Self(text.into_boxed_str())
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// All of them, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.0.split_terminator('\0');
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
    /// Bytes taken.
    pub fn len_bytes(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_names_values_and_empties() {
        let p = Pairs::new([("a", "1"), ("b", ""), ("c/d", "x\0y")]);
        assert_eq!(p.iter().collect::<Vec<_>>(), [("a", "1"), ("b", ""), ("c/d", "x\u{fffd}y")]);
        assert_eq!((p.get("b"), p.get("x")), (Some(""), None));
        assert_eq!(Pairs::new([]).iter().count(), 0);
    }
}
