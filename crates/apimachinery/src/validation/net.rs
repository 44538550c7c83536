//! IP addresses and CIDRs, as upstream has always read them and as it wants them now
//! (rule: apimachinery `pkg/util/validation/ip.go`).

use crate::field::{ErrorList, Path, go_quote};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const BAD_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const BAD_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reads an address with leading zeros allowed in IPv4; an IPv4-mapped IPv6 address is the IPv4 address.
pub fn parse_ip_sloppy(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let ip: Ipv6Addr = match text.rsplit_once(':') {
            // The IPv4 tail of an IPv6 address may have leading zeros too.
            Some((head, tail)) if tail.contains('.') => format!("{head}:{}", parse_v4_sloppy(tail)?).parse().ok()?,
            _ => text.parse().ok()?,
        };
        return Some(unmap(ip));
    }
    parse_v4_sloppy(text).map(IpAddr::V4)
}
fn unmap(ip: Ipv6Addr) -> IpAddr {
    ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
}
fn parse_v4_sloppy(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = decimal(parts.next()?)?.try_into().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}
/// Digits only, leading zeros allowed.
fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| text.trim_start_matches('0'))?.parse().ok().or_else(|| text.bytes().all(|c| c == b'0').then_some(0))
}

/// A CIDR as read: its address, the length of its prefix, and the bits its notation has (32 or 128).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address with all its bits.
    pub ip: IpAddr,
    /// The bits of the network.
    pub prefix: u8,
    /// 32, or 128 also for an IPv4-mapped address.
    pub bits: u8,
}

impl Cidr {
    /// Reads a CIDR with leading zeros allowed.
    pub fn parse_sloppy(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let ip = parse_ip_sloppy(address)?;
        let bits = if address.contains(':') { 128 } else { 32 };
        let prefix = u8::try_from(decimal(length)?).ok().filter(|p| *p <= bits)?;
        Some(Self { ip, prefix, bits })
    }
    /// The first address of the network.
    pub fn network(&self) -> IpAddr {
        let all = u128::MAX.checked_shl(u32::from(128 - self.prefix)).unwrap_or(0);
        match self.ip {
            IpAddr::V4(ip) if self.bits == 32 => {
                let mask = u32::MAX.checked_shl(u32::from(32 - self.prefix)).unwrap_or(0);
                IpAddr::V4((u32::from(ip) & mask).into())
            }
            IpAddr::V4(ip) => unmap((u128::from(ip.to_ipv6_mapped()) & all).into()),
            IpAddr::V6(ip) => unmap((u128::from(ip) & all).into()),
        }
    }
    /// The network in canonical form.
    pub fn canonical(&self) -> String {
        format!("{}/{}", self.network(), self.prefix)
    }
}

fn strict_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}
fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v) if v.to_ipv4_mapped().is_some())
}
fn strict_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let tidy = !length.is_empty() && (length == "0" || !length.starts_with('0'));
    Some((strict_ip(address)?, length.parse().ok().filter(|_| tidy)?))
}

/// An address in a field that has always been lenient; `strict` demands today's form, except of values in `old`.
pub fn legacy_ip(errors: &mut ErrorList, path: &Path, value: &str, strict: bool, old: &[&str]) {
    if old.contains(&value) {
        return;
    }
    if parse_ip_sloppy(value).is_none() {
        return errors.invalid(path, value, BAD_IP);
    }
    match strict_ip(value) {
        None if strict => errors.invalid(path, value, "must not have leading 0s"),
        Some(ip) if strict && is_mapped(ip) => errors.invalid(path, value, "must not be an IPv4-mapped IPv6 address"),
        _ => {}
    }
}
/// An address in canonical form.
pub fn ip(errors: &mut ErrorList, path: &Path, value: &str) {
    let before = errors.0.len();
    legacy_ip(errors, path, value, true, &[]);
    if errors.0.len() > before {
        return;
    }
    if let Some(ip) = parse_ip_sloppy(value).filter(|ip| ip.to_string() != value) {
        errors.invalid(path, value, format!("must be in canonical form ({})", go_quote(&ip.to_string())));
    }
}
/// The warnings about an address that [`legacy_ip`] lets pass (rule: `GetWarningsForIP`).
pub fn ip_warnings(path: &Path, value: &str) -> Vec<String> {
    let Some(ip) = parse_ip_sloppy(value) else { return Vec::new() };
    let quoted = go_quote(value);
    match strict_ip(value) {
        Some(IpAddr::V6(v6)) if !is_mapped(v6.into()) => {
            if v6.to_string() == value {
                return Vec::new();
            }
            let want = go_quote(&v6.to_string());
            vec![format!("{path}: IPv6 address {quoted} should be in RFC 5952 canonical format ({want})")]
        }
        Some(IpAddr::V4(_)) => Vec::new(),
        _ => {
            let want = go_quote(&ip.to_string());
            vec![format!(
                "{path}: non-standard IP address {quoted} will be considered invalid in a future Kubernetes release: use {want}"
            )]
        }
    }
}
/// A CIDR in a field that has always been lenient; `strict` demands today's form, except of values in `old`.
pub fn legacy_cidr(errors: &mut ErrorList, path: &Path, value: &str, strict: bool, old: &[&str]) {
    if old.contains(&value) {
        return;
    }
    let Some(cidr) = Cidr::parse_sloppy(value) else {
        return errors.invalid(path, value, BAD_CIDR);
    };
    if !strict {
        return;
    }
    match strict_cidr(value) {
        None => errors.invalid(path, value, "must not have leading 0s in IP or prefix length"),
        Some((ip, _)) if is_mapped(ip) => errors.invalid(path, value, "must not have an IPv4-mapped IPv6 address"),
        Some(_) if cidr.ip != cidr.network() => {
            errors.invalid(path, value, "must not have bits set beyond the prefix length");
        }
        Some(_) => {}
    }
}
/// A CIDR in canonical form.
pub fn cidr(errors: &mut ErrorList, path: &Path, value: &str) {
    let before = errors.0.len();
    legacy_cidr(errors, path, value, true, &[]);
    if errors.0.len() > before {
        return;
    }
    if let Some(want) = Cidr::parse_sloppy(value).map(|c| c.canonical()).filter(|c| c != value) {
        errors.invalid(path, value, format!("must be in canonical form ({})", go_quote(&want)));
    }
}
/// The warnings about a CIDR that [`legacy_cidr`] lets pass (rule: `GetWarningsForCIDR`).
pub fn cidr_warnings(path: &Path, value: &str) -> Vec<String> {
    let Some(cidr) = Cidr::parse_sloppy(value) else { return Vec::new() };
    let (quoted, want) = (go_quote(value), go_quote(&cidr.canonical()));
    let mut warnings = Vec::new();
    if cidr.ip != cidr.network() {
        let single = go_quote(&format!("{}/{}", cidr.ip, cidr.bits));
        warnings
            .push(format!("{path}: CIDR value {quoted} is ambiguous in this context (should be {want} or {single}?)"));
    }
    match strict_cidr(value) {
        Some((ip, _)) if !is_mapped(ip) => {
            let printed = strict_cidr(value).map(|(ip, n)| format!("{ip}/{n}")).unwrap_or_default();
            if warnings.is_empty() && ip.is_ipv6() && printed != value {
                let want = go_quote(&printed);
                warnings.push(format!("{path}: IPv6 CIDR value {quoted} should be in RFC 5952 canonical format ({want})"));
            }
        }
        _ => warnings.push(format!(
            "{path}: non-standard CIDR value {quoted} will be considered invalid in a future Kubernetes release: use {want}"
        )),
    }
    warnings
}
/// An interface's address with the length of its network's prefix, in canonical form: `192.168.1.5/24`.
pub fn interface_address(errors: &mut ErrorList, path: &Path, value: &str) {
    let Some(cidr) = Cidr::parse_sloppy(value) else {
        return errors.invalid(path, value, BAD_CIDR);
    };
    let mapped = cidr.ip.is_ipv4() && cidr.bits == 128;
    let prefix = if mapped && cidr.prefix > 32 { cidr.prefix.saturating_sub(96) } else { cidr.prefix };
    let want = format!("{}/{prefix}", cidr.ip);
    if want != value {
        errors.invalid(path, value, format!("must be in canonical form ({})", go_quote(&want)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |value: &str, strict: bool, want: &str| {
            let mut errors = ErrorList::new();
            legacy_ip(&mut errors, &Path::new("x"), value, strict, &[]);
            assert_eq!(errors.0.first().map(|e| e.body.clone()).unwrap_or_default(), want, "{value}");
        };
        check("010.1.2.3", false, "");
        check("010.1.2.3", true, "Invalid value: \"010.1.2.3\": must not have leading 0s");
        check("::ffff:1.2.3.4", true, "Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address");
        check("fe80::1%eth0", false, &format!("Invalid value: \"fe80::1%eth0\": {BAD_IP}"));
        check("1.2.3", false, &format!("Invalid value: \"1.2.3\": {BAD_IP}"));
        check("2001:db8::0:1", true, "");
        let mut errors = ErrorList::new();
        ip(&mut errors, &Path::new("x"), "2001:DB8::1");
        assert_eq!(errors.joined(), "x: Invalid value: \"2001:DB8::1\": must be in canonical form (\"2001:db8::1\")");
    }

    #[test]
    fn networks() {
        let check = |value: &str, want: &[&str]| assert_eq!(cidr_warnings(&Path::new("x"), value), want, "{value}");
        check("10.0.0.0/8", &[]);
        check(
            "10.0.0.1/8",
            &[
                "x: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
            ],
        );
        check(
            "2001:db8:0::/64",
            &["x: IPv6 CIDR value \"2001:db8:0::/64\" should be in RFC 5952 canonical format (\"2001:db8::/64\")"],
        );
        assert!(Cidr::parse_sloppy("10.0.0.0/33").is_none());
        assert_eq!(Cidr::parse_sloppy("0.0.0.0/0").unwrap().canonical(), "0.0.0.0/0");
    }
}
