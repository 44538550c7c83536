use steersman_apimachinery::GroupVersionKind;
use steersman_apimachinery::options::FieldValidation;
use steersman_codec::*;
#[test]
fn speed() {
    let pod = std::fs::read_to_string("/tmp/pod.json").unwrap();
    let gvk = GroupVersionKind::from_static("", "v1", "Pod");
    let ty = steersman_schema::lookup("", "v1", "Pod").unwrap();
    let v = decode_object(pod.as_bytes(), MediaType::Json, &gvk, &[], FieldValidation::Warn).unwrap().value;
    let p = protobuf::encode(&v, &ty);
    if std::env::var_os("PB").is_some() { for _ in 0..60000 { std::hint::black_box(protobuf::decode(&p).unwrap()); std::hint::black_box(protobuf::encode(&v, &ty)); } return; }
    for _ in 0..100000 { std::hint::black_box(decode_object(pod.as_bytes(), MediaType::Json, &gvk, &[], FieldValidation::Warn).unwrap()); }
}
