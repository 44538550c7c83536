//! Lists that merge, and the order in which their elements end up: `$setElementOrder` over the order in the patch over
//! the order in the live list.

use super::*;
use std::collections::{HashMap, HashSet};

/// Merges a list by its field's strategy.
pub(super) fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    field: &Field,
    deletes: bool,
) -> Result<Vec<Value>, Status> {
    if !field.strategy.merge {
        return Ok(patch);
    }
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let key: &str = &field.merge_key;
    let (original, patch, merged) = if element_type(&[&original, &patch])? != go::type_name(&Value::Object(Map::new()))
    {
        if deletes {
            let gone: HashSet<&Value> = patch.iter().collect();
            return Ok(original.into_iter().filter(|v| !gone.contains(v)).collect());
        }
        let mut seen = HashSet::new();
        let merged = original.iter().chain(&patch).filter(|v| seen.insert(*v)).cloned().collect();
        (original, patch, merged)
    } else {
        if key.is_empty() {
            return Err(plain("cannot merge lists without merge key for type struct"));
        }
        let (original, patch) = obey_directives(original, patch, key)?;
        let merged = merge_elements(original.clone(), &patch, field)?;
        (original, patch, merged)
    };
    let (from_patch, server_only) = partition(merged, &patch, key)?;
    order(from_patch, server_only, &patch, &original, key)
}

/// Elements that carry `$patch`: they delete from the original, or replace it.
fn obey_directives(mut original: Vec<Value>, patch: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>), Status> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut deleted: HashSet<Value> = HashSet::new();
    let mut replace = false;
    for element in patch {
        let Value::Object(m) = &element else { return Err(bad_type("map[string]interface {}", &element)) };
        match m.get(DIRECTIVE) {
            None => rest.push(element),
            Some(d) => match d.as_str() {
                Some("delete") => {
                    let value = m.get(key).ok_or_else(|| no_merge_key(&element, key))?;
                    deleted.insert(value.clone());
                }
                Some("replace") => replace = true,
                Some("merge") => return Err(plain("merging lists cannot yet be specified in the patch")),
                _ => return Err(bad_directive(d, m)),
            },
        }
    }
    if !deleted.is_empty() {
        original.retain(|o| o.get(key).is_none_or(|v| !deleted.contains(v)));
    }
    Ok(if replace { (rest, Vec::new()) } else { (original, rest) })
}

fn merge_elements(mut original: Vec<Value>, patch: &[Value], field: &Field) -> Result<Vec<Value>, Status> {
    let key: &str = &field.merge_key;
    let place = field.kind.item().map_or(Place::Other, Place::of);
    let mut at: HashMap<Value, usize> = HashMap::with_capacity(original.len());
    for (i, element) in original.iter().enumerate() {
        if let Some(value) = element.get(key) {
            at.entry(value.clone()).or_insert(i);
        }
    }
    for element in patch {
        let value = element.get(key).ok_or_else(|| no_merge_key(element, key))?;
        match (at.get(value), element) {
            (Some(&i), Value::Object(p)) => {
                let Value::Object(o) = original[i].take() else { continue };
                original[i] = Value::Object(merge_map(o, p.clone(), place)?);
            }
            _ => {
                at.insert(value.clone(), original.len());
                original.push(element.clone());
            }
        }
    }
    Ok(original)
}

fn no_merge_key(element: &Value, key: &str) -> Status {
    plain(format!("map: {} does not contain declared merge key: {key}", go::print(element)))
}

/// The Go type that all elements share.
fn element_type(lists: &[&[Value]]) -> Result<&'static str, Status> {
    let mut types = lists.iter().flat_map(|l| l.iter()).map(go::type_name);
    let Some(first) = types.next() else { return Err(plain("no elements in any of the given slices")) };
    if first == go::type_name(&Value::Array(Vec::new())) {
        return Err(Status::failure(
            422,
            Reason::Invalid,
            "the server rejected our request due to an error in our request",
        )
        .with_details(Default::default()));
    }
    if types.any(|t| t != first) {
        let shown: Vec<String> = lists.iter().map(|l| go::print(&Value::Array(l.to_vec()))).collect();
        return Err(plain(format!("list element types are not identical: [{}]", shown.join(" "))));
    }
    Ok(first)
}

/// What an element is told apart by: its merge key, or itself where there is none.
fn identity<'a>(element: &'a Value, key: &str) -> Option<&'a Value> {
    if key.is_empty() { Some(element) } else { element.get(key) }
}

/// Where the elements of a list stand in it.
struct Ranks<'a> {
    key: &'a str,
    first: HashMap<Option<&'a Value>, usize>,
}

impl<'a> Ranks<'a> {
    fn new(list: &'a [Value], key: &'a str) -> Self {
        let mut first = HashMap::with_capacity(list.len());
        for (i, element) in list.iter().enumerate() {
            first.entry(identity(element, key)).or_insert(i);
        }
        Self { key, first }
    }
    fn of(&self, element: &Value) -> Option<usize> {
        self.first.get(&identity(element, self.key)).copied()
    }
}

/// The elements that `by` names, and those that it does not.
fn partition(list: Vec<Value>, by: &[Value], key: &str) -> Result<(Vec<Value>, Vec<Value>), Status> {
    if !key.is_empty() {
        for element in &list {
            if !element.is_object() {
                return Err(bad_type("map[string]interface {}", element));
            }
            if element.get(key).is_none() {
                return Err(no_merge_key(element, key));
            }
        }
    }
    let by = Ranks::new(by, key);
    Ok(list.into_iter().partition(|v| by.of(v).is_some()))
}

/// Orders the patch's elements as `patch_order`, the server's as `server_order`, and interleaves them by the latter.
fn order(
    mut from_patch: Vec<Value>,
    mut server_only: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: &str,
) -> Result<Vec<Value>, Status> {
    if !key.is_empty() {
        let missing = [&from_patch[..], patch_order, &server_only[..], server_order].into_iter().flatten();
        if let Some(element) = missing.into_iter().find(|e| e.get(key).is_none()) {
            return Err(no_merge_key(element, key));
        }
    }
    let (by_patch, by_server) = (Ranks::new(patch_order, key), Ranks::new(server_order, key));
    from_patch.sort_by_cached_key(|v| by_patch.of(v));
    server_only.sort_by_cached_key(|v| by_server.of(v));
    let mut out = Vec::with_capacity(from_patch.len() + server_only.len());
    let mut server = server_only.into_iter().peekable();
    for p in from_patch {
        let at = by_server.of(&p);
        while let Some(s) = server.next_if(|s| {
            let s = by_server.of(s);
            s.is_some() && at.is_some() && s < at
        }) {
            out.push(s);
        }
        out.push(p);
    }
    out.extend(server);
    Ok(out)
}

/// Merges the lists that have a `$setElementOrder` in the patch, and takes both out of it.
pub(super) fn merge_ordered(original: &mut Object, patch: &mut Object, place: Place) -> Result<(), Status> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let wanted = match patch.remove(&directive) {
            Some(Value::Array(a)) => a,
            Some(other) => return Err(bad_type("[]interface {}", &other)),
            None => continue,
        };
        let name = directive_target(&directive, SET_ELEMENT_ORDER).ok_or_else(bad_element_order)?;
        let list = |m: &Object| match m.get(name) {
            None => Ok(None),
            Some(Value::Array(a)) => Ok(Some(a.clone())),
            Some(other) => Err(bad_type("[]interface {}", other)),
        };
        let (live, new) = (list(original)?, list(patch)?);
        let field = place.field(name, "array")?;
        let key: &str = &field.merge_key;
        check_order(new.as_deref().unwrap_or_default(), &wanted, key)?;
        let merged = match (&live, &new) {
            (None, None) => continue,
            (Some(live), None) => live.clone(),
            (None, Some(new)) => new.clone(),
            (Some(live), Some(new)) => merge_list(live.clone(), new.clone(), field, false)?,
        };
        let (live, new) = (live.unwrap_or_default(), new.unwrap_or_default());
        let (ours, server_only) = partition(merged, &wanted, key)?;
        element_type(&[&live, &new])?;
        let all = order(ours, server_only, &wanted, &live, key)?;
        original.insert(name.to_owned(), Value::Array(all));
        patch.remove(name);
    }
    Ok(())
}

/// The patch's elements must be among the wanted ones, in their order.
fn check_order(patch: &[Value], wanted: &[Value], key: &str) -> Result<(), Status> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let deletes = |v: &Value| v.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
    if let (false, Some(bad)) = (key.is_empty(), patch.iter().find(|v| !v.is_object())) {
        return Err(bad_type("map[string]interface {}", bad));
    }
    let mut rest = wanted.iter();
    for element in patch.iter().filter(|v| key.is_empty() || !deletes(v)) {
        if element.get(DIRECTIVE).is_some() {
            continue;
        }
        let same = |w: &Value| -> Result<bool, Status> {
            if key.is_empty() {
                return Ok(w == element);
            }
            let of = |v: &Value| v.get(key).cloned().ok_or_else(|| no_merge_key(v, key));
            Ok(of(element)? == of(w)?)
        };
        loop {
            match rest.next() {
                None => {
                    let (patch, wanted) = (Value::Array(patch.to_vec()), Value::Array(wanted.to_vec()));
                    let (patch, wanted) = (go::print(&patch), go::print(&wanted));
                    return Err(plain(format!(
                        "The order in patch list:\n{patch}\n doesn't match {SET_ELEMENT_ORDER} list:\n{wanted}\n"
                    )));
                }
                Some(w) if same(w)? => break,
                Some(_) => {}
            }
        }
    }
    Ok(())
}
