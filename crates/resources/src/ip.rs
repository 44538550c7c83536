//! IP addresses and CIDR blocks in fields of Services, policies and the like (rule: core validation, `pkg/util/validation/ip.go`).

use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::Context;

pub use validation::parse_ip_sloppy as parse_sloppy;

/// A block with its address as written, and its prefix length; sloppy about leading zeros.
pub fn parse_cidr_sloppy(text: &str) -> Option<(IpAddr, u8)> {
    let cidr = validation::Cidr::parse_sloppy(text)?;
    Some((cidr.ip, cidr.prefix))
}

/// Whether the text is an IPv6 address (one that holds a mapped IPv4 address counts as IPv4, as in Go).
pub fn is_v6(text: &str) -> bool {
    parse_sloppy(text).is_some_and(|ip| ip.is_ipv6())
}

/// Checks an address of an old field, where what was stored before stays allowed; returns whether it is fine.
pub fn check_ip_legacy(errors: &mut ErrorList, path: &Path, value: &str, old: &[&str]) -> bool {
    let before = errors.0.len();
    validation::legacy_ip(errors, path, value, true, old);
    errors.0.len() == before
}

/// Checks a block of an old field, where what was stored before stays allowed; returns whether it is fine.
pub fn check_cidr_legacy(errors: &mut ErrorList, path: &Path, value: &str, old: &[&str]) -> bool {
    let before = errors.0.len();
    validation::legacy_cidr(errors, path, value, true, old);
    errors.0.len() == before
}

/// The network address of the block of `len` bits that `ip` is in.
pub fn masked(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v) => {
            let mask = if len == 0 { 0 } else { u32::MAX << (32 - u32::from(len.min(32))) };
            Ipv4Addr::from(u32::from(v) & mask).into()
        }
        IpAddr::V6(v) => {
            let mask = if len == 0 { 0 } else { u128::MAX << (128 - u32::from(len.min(128))) };
            Ipv6Addr::from(u128::from(v) & mask).into()
        }
    }
}

/// Whether a block holds an address.
pub fn contains((net, len): (IpAddr, u8), ip: IpAddr) -> bool {
    net.is_ipv4() == ip.is_ipv4() && masked(ip, len) == masked(net, len)
}

/// Warns of the forms of addresses that a load balancer has, in the status of a Service or an Ingress.
pub fn warn_of_load_balancer(ctx: &Context, obj: &Value) {
    let at = Path::new("status").child("loadBalancer").child("ingress");
    for (i, point) in object::list(obj, &["status", "loadBalancer", "ingress"]).iter().enumerate() {
        validation::ip_warnings(&at.index(i), object::str(point, &["ip"])).into_iter().for_each(|w| ctx.warn(w));
    }
}

/// Checks that traffic may be sent to an address: not unspecified, loopback or link-local.
pub fn check_not_special(errors: &mut ErrorList, path: &Path, value: &str) {
    let Some(ip) = parse_sloppy(value) else {
        errors.invalid(path, value, "must be a valid IP address");
        return;
    };
    let (link_local, link_local_multicast) = match ip {
        IpAddr::V4(v) => (v.is_link_local(), v.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v) => ((v.segments()[0] & 0xffc0) == 0xfe80, (v.segments()[0] & 0xff0f) == 0xff02),
    };
    if ip.is_unspecified() {
        errors.invalid(path, value, format!("may not be unspecified ({value})"));
    }
    if ip.is_loopback() {
        errors.invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        errors.invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        errors.invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses() {
        let check = |value: &str, want: &str| {
            let mut e = ErrorList::new();
            check_not_special(&mut e, &Path::new("f"), value);
            assert_eq!(e.0.first().map(|e| e.body.clone()).unwrap_or_default(), want, "{value}");
        };
        check("192.0.2.1", "");
        check(
            "169.254.1.1",
            "Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        );
        check("::1", "Invalid value: \"::1\": may not be in the loopback range (127.0.0.0/8, ::1/128)");
        check("x", "Invalid value: \"x\": must be a valid IP address");
    }
}
