//! Objects made at random from the facts of every type survive JSON, YAML and protobuf unchanged, and bytes made at
//! random break nothing. The generator is seeded: a failure repeats.

use serde_json::{Map, Value, json};
use steersman_apimachinery::GroupVersionKind;
use steersman_apimachinery::options::FieldValidation;
use steersman_codec::{MediaType, decode, decode_object, decode_unstructured, encode, normalise, protobuf, yaml};
use steersman_schema::{Kind, Presence, Type, definitions};

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("small")
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn object(&mut self, ty: &Type, depth: usize) -> Value {
        let mut object = Map::new();
        for field in ty.fields.iter() {
            let type_meta = matches!(&*field.name, "kind" | "apiVersion") && field.number == 0;
            if type_meta || self.below(depth + 2) > 1 {
                continue;
            }
            if depth > 5 && !matches!(field.kind, Kind::String | Kind::Bool | Kind::Int32 | Kind::Int64) {
                continue;
            }
            let explicit = matches!(field.presence, Presence::Pointer | Presence::PointerAlways);
            let value = self.kind(&field.kind, depth + 1, explicit);
            object.insert(field.name.clone().into_owned(), value);
        }
        Value::Object(object)
    }

    fn kind(&mut self, kind: &Kind, depth: usize, zero: bool) -> Value {
        let zero = zero && self.below(4) == 0;
        match kind {
            Kind::Bool => Value::Bool(self.below(2) == 0),
            Kind::Int32 | Kind::Int64 if zero => json!(0),
            Kind::Int32 => json!(self.pick(&[1, -1, 8080, i32::MAX, i32::MIN])),
            Kind::Int64 => json!(self.pick(&[1, -1, 3600, i64::MAX, i64::MIN])),
            Kind::Float64 => self.pick(&[1.5, -0.25, 1e300]).into(),
            Kind::String if zero => json!(""),
            Kind::String => json!(self.pick(&["a", "é😀", "line\nbreak", "<&>\"\\", "yes", "0x10", " padded ", "#"])),
            Kind::Bytes => json!(self.pick(&["aGVsbG8=", "AA==", "//79"])),
            Kind::Time => json!(self.pick(&["2024-01-02T03:04:05Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"])),
            Kind::MicroTime => json!(self.pick(&["2024-01-02T03:04:05.000006Z", "1969-12-31T23:59:59.999999Z"])),
            Kind::Duration => json!(self.pick(&["1h0m0s", "1.5s", "-3ms"])),
            Kind::Quantity => json!(self.pick(&["100m", "1Gi", "0", "1500m", "1e3"])),
            Kind::IntOrString => self.pick(&[json!(0), json!(-7), json!("25%"), json!("")].each_ref()).clone(),
            Kind::RawExtension | Kind::FieldsV1 => json!({"f:a": {".": {}}, "n": [1, 2.5, null, "x"]}),
            Kind::JsonAny => self.pick(&[json!({"a": [true]}), json!("x"), json!(3), json!(false)].each_ref()).clone(),
            Kind::Object(ty) => self.object(ty, depth),
            Kind::List(item) | Kind::WrappedList(item) => {
                (0..=self.below(2)).map(|_| self.kind(item, depth + 1, true)).collect()
            }
            Kind::Map(value) => (0..=self.below(2))
                .map(|i| (format!("key{i}"), self.kind(value, depth + 1, true)))
                .collect::<Map<_, _>>()
                .into(),
            Kind::SchemaOrArray(ty) if self.below(2) == 0 => json!([self.object(ty, depth + 2)]),
            Kind::SchemaOrBool(_) if self.below(2) == 0 => Value::Bool(self.below(2) == 0),
            Kind::SchemaOrStrings(_) if self.below(2) == 0 => json!(["a", ""]),
            Kind::SchemaOrArray(ty) | Kind::SchemaOrBool(ty) | Kind::SchemaOrStrings(ty) => self.object(ty, depth + 2),
        }
    }
}

#[test]
fn every_type_survives() {
    let mut random = Random(0x5eed);
    let mut objects = 0;
    for ty in definitions() {
        // Discovery's version information has no protobuf form.
        let transcodes = ty.fields.iter().all(|f| f.number != 0 || matches!(&*f.name, "kind" | "apiVersion"));
        for _ in 0..20 {
            let raw = random.object(ty, 0);
            let (value, unknown) =
                normalise(raw, ty, FieldValidation::Strict).unwrap_or_else(|e| panic!("{}: {e}", ty.name));
            assert!(unknown.is_empty());
            objects += 1;
            let again = normalise(value.clone(), ty, FieldValidation::Strict).expect("normal").0;
            assert_eq!(again, value, "{} is normal", ty.name);
            let json = encode(&value);
            let back = decode(&json, MediaType::Json, ty, FieldValidation::Strict);
            assert_eq!(back, Ok((value.clone(), Vec::new())), "{} in JSON", ty.name);
            let text = yaml::write(&value);
            let back = decode(text.as_bytes(), MediaType::Yaml, ty, FieldValidation::Strict);
            assert_eq!(back, Ok((value.clone(), Vec::new())), "{} in YAML:\n{text}", ty.name);
            if transcodes {
                let bytes = protobuf::seal("", "", &protobuf::message(&value, ty));
                assert_eq!(protobuf::decode_as(&bytes, ty), Ok(value.clone()), "{} in protobuf", ty.name);
                let message = protobuf::message_of_json(&json, ty).expect("is an object");
                let bytes = protobuf::seal("", "", &message);
                assert_eq!(protobuf::decode_as(&bytes, ty), Ok(value), "{} from JSON to protobuf", ty.name);
            }
        }
    }
    assert!(objects > 10_000, "{objects}");
}

/// Bytes that are no JSON object are told apart, wherever they end.
#[test]
fn cut_text_has_no_message() {
    let ty = steersman_schema::lookup("", "v1", "Pod").expect("is known");
    let pod = br#"{"kind":"Pod","metadata":{"name":"a\"b","labels":{"x":"y"}},"spec":{"containers":[{"name":"c","ports":[{"containerPort":80}]}]}}"#;
    assert!(protobuf::message_of_json(pod, &ty).is_some());
    for end in 0..pod.len() {
        assert_eq!(protobuf::message_of_json(&pod[..end], &ty), None, "{end}");
    }
}

#[test]
fn hostile_bytes_do_no_harm() {
    let mut random = Random(0xf022);
    let pod = GroupVersionKind::from_static("", "v1", "Pod");
    let ty = steersman_schema::lookup("", "v1", "Pod").expect("a kind");
    for _ in 0..3_000 {
        let value = random.object(&ty, 0);
        let value = normalise(value, &ty, FieldValidation::Ignore).expect("normal").0;
        let mut wires = [
            (MediaType::Protobuf, protobuf::seal("v1", "Pod", &protobuf::message(&value, &ty))),
            (MediaType::Json, encode(&value).to_vec()),
            (MediaType::Yaml, yaml::write(&value).into_bytes()),
        ];
        for (media, bytes) in &mut wires {
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] = u8::try_from(random.below(256)).expect("a byte"),
                    1 => bytes.truncate(at.max(1)),
                    2 => bytes.insert(at, random.pick(b"{}[]\",:\\ux0-\x08\x80\xff")),
                    _ => drop(bytes.remove(at.min(bytes.len() - 1))),
                }
                if bytes.is_empty() {
                    bytes.push(b'{');
                }
            }
            // Whatever comes out is fine as long as something does.
            let _ = decode_object(bytes, *media, &pod, &[], FieldValidation::Strict);
            let _ = decode_unstructured(bytes, *media, &pod, FieldValidation::Warn);
        }
    }
}

#[test]
fn what_is_json_is_agreed_on() {
    let mut random = Random(0x1500);
    let cm = GroupVersionKind::from_static("example.com", "v1", "Thing");
    for _ in 0..20_000 {
        let mut text = br#"{"apiVersion":"example.com/v1","kind":"Thing","a":[1,-2.5e3,true,null,{"b":"c"}]}"#.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(text.len());
            match random.below(3) {
                0 => text[at] = random.pick(b"{}[]\",:0-9eE.tfn \x01"),
                1 => text.insert(at, random.pick(b"{}[]\",:0-9eE.tfn \n")),
                _ => drop(text.remove(at)),
            }
        }
        let ours = decode_unstructured(&text, MediaType::Json, &cm, FieldValidation::Ignore);
        let theirs = serde_json::from_slice::<Value>(&text);
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours.value.to_string().len() > 1, theirs.is_object()),
            (Err(ours), Ok(theirs)) => assert!(
                !ours.message.contains("invalid character") || !theirs.is_object(),
                "{}: {ours}",
                String::from_utf8_lossy(&text)
            ),
            (Ok(_), Err(theirs)) => panic!("{}: {theirs}", String::from_utf8_lossy(&text)),
            (Err(_), Err(_)) => {}
        }
    }
}

#[test]
fn depth_is_bounded() {
    let pod = GroupVersionKind::from_static("", "v1", "Pod");
    for open in ["{\"a\":", "[", "{\"spec\":{\"containers\":["] {
        let text = open.repeat(100_000);
        assert!(decode_object(text.as_bytes(), MediaType::Json, &pod, &[], FieldValidation::Strict).is_err());
        assert!(decode_unstructured(text.as_bytes(), MediaType::Json, &pod, FieldValidation::Strict).is_err());
        assert!(yaml::read(open.repeat(2_000).as_bytes()).is_err());
    }
}
