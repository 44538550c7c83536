//! What holds for any text.

use proptest::prelude::*;
use steersman_apimachinery::Quantity;
use steersman_apimachinery::selector::{FieldSelector, LabelSelector};
use steersman_apimachinery::validation::{Cidr, parse_ip_sloppy};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_label_selector_prints_what_it_parses(text in "[a-c!=<>(),. 12inot/-]{0,24}") {
        if let Ok(parsed) = LabelSelector::parse(&text) {
            let printed = parsed.to_string();
            prop_assert_eq!(LabelSelector::parse(&printed).map(|s| s.to_string()), Ok(printed));
        }
    }

    #[test]
    fn a_field_selector_prints_what_it_parses(text in "[a-c!=,.\\\\]{0,16}") {
        if let Ok(parsed) = FieldSelector::parse(&text) {
            let printed = parsed.to_string();
            prop_assert_eq!(FieldSelector::parse(&printed), Ok(parsed), "{}", printed);
        }
    }

    #[test]
    fn a_quantity_keeps_its_amount(text in "[+-]?[0-9]{0,6}(\\.[0-9]{0,6})?(n|u|m|k|M|G|Ki|Mi|Gi|e-?[0-9])?") {
        if let Ok(q) = text.parse::<Quantity>() {
            let canonical = q.canonical();
            let again: Quantity = canonical.parse().expect("a canonical form parses");
            prop_assert_eq!(&again, &q, "{} {}", text, canonical);
            prop_assert_eq!(again.canonical(), canonical);
            let mut sum = q.clone();
            sum.add(&q);
            sum.sub(&q);
            prop_assert_eq!(&sum, &q);
            prop_assert!(q.value().unsigned_abs() >= q.as_f64().abs() as u64);
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,40}") {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
        let _ = text.parse::<Quantity>().map(|q| (q.to_string(), q.value(), q.milli_value()));
        let _ = parse_ip_sloppy(&text);
        let _ = Cidr::parse_sloppy(&text).map(|c| c.canonical());
    }

    #[test]
    fn addresses_print_what_they_parse(bits in any::<u128>(), prefix in 0u8..=128) {
        let ip = std::net::Ipv6Addr::from(bits);
        let text = format!("{ip}/{prefix}");
        let network = Cidr::parse_sloppy(&text).expect("a CIDR").canonical();
        prop_assert_eq!(Cidr::parse_sloppy(&network).map(|c| c.canonical()), Some(network));
    }
}
