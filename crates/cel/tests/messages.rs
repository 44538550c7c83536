//! Expressions and what is said of them, against cel-go's words.

use steersman_cel::{Env, Type, compile};

fn env() -> Env {
    let attribute = Type::map(Type::String, Type::Any);
    Env::kubernetes()
        .object(
            "kubernetes.DRADevice",
            [
                ("driver".to_owned(), Type::String),
                ("attributes".to_owned(), Type::map(Type::String, attribute)),
                (
                    "capacity".to_owned(),
                    Type::map(
                        Type::String,
                        Type::map(Type::String, Type::Opaque("kubernetes.Quantity".into(), [].into())),
                    ),
                ),
            ],
        )
        .variable("device", Type::object("kubernetes.DRADevice"))
        .variable("object", Type::Dyn)
        .variable("authorizer", Type::Opaque("kubernetes.authorization.Authorizer".into(), [].into()))
        .variable(
            "authorizer.requestResource",
            Type::Opaque("kubernetes.authorization.ResourceCheck".into(), [].into()),
        )
}

#[test]
fn types() {
    let check = |source: &str, want: &str| match compile(&env(), source) {
        Ok(ty) => assert_eq!(ty.to_string(), want, "{source}"),
        Err(e) => panic!("{source}\n{e}"),
    };
    check("1 + 1", "int");
    check("device.driver == \"gpu.example.com\" && device.attributes[\"gpu.example.com\"].model == \"a100\"", "bool");
    check("device.attributes['a'].x", "any");
    check("device.attributes['a'].name.startsWith('b')", "bool");
    check("device.capacity['a'].memory.isGreaterThan(quantity('1Gi'))", "bool");
    check("cel.bind(dra, device.attributes['d'], dra.one && dra.two)", "bool");
    check("object.spec.replicas", "dyn");
    check("object.spec.replicas < 5", "bool");
    check("object.spec.containers.all(c, c.name.matches('^a'))", "bool");
    check("[1, 2].map(x, x * 2)", "list(int)");
    check("[1, 2].exists_one(x, x > 1)", "bool");
    check("{'a': 1}.map(k, k)", "list(string)");
    check("{'a': 1, 'b': 2}.all(k, v, v > 0)", "bool");
    check("[1, 2, 3].transformList(i, v, i + v)", "list(int)");
    check("has(object.spec) ? 'x' : 'y'", "string");
    check("object.?metadata.labels.orValue({})", "dyn");
    check("optional.of(1).orValue(2)", "int");
    check("[]", "list(dyn)");
    check("{}", "map(dyn, dyn)");
    check("'%d'.format([1])", "string");
    check("authorizer.group('').resource('pods').namespace('x').check('get').allowed()", "bool");
    check("authorizer.requestResource.check('get').allowed()", "bool");
    check("timestamp('2020-01-01T00:00:00Z') - timestamp('2019-01-01T00:00:00Z')", "duration");
    check("duration('1h').getSeconds()", "int");
    check("ip('1.2.3.4').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.1.1')", "bool");
    check("semver('1.2.3').isLessThan(semver('2.0.0'))", "bool");
    check("!format.dns1123Label().validate('a').hasValue()", "bool");
    check("type(1) == int", "bool");
    check("-(-1)", "int");
    check("1 in [1, 2] || 'a' in {'a': 1}", "bool");
    check("r'\\d' + \"\\u00e9\\x41\"", "string");
    check("[1,2].sum() + size('abc')", "int");
    check("sets.contains([1], [1])", "bool");
    check("1 < 2.5 || dyn(1) == 1.0", "bool");
}

#[test]
fn mistakes() {
    let check = |source: &str, want: &str| match compile(&env(), source) {
        Ok(ty) => panic!("{source} is {ty}"),
        Err(e) => assert_eq!(e.to_string(), want, "{source}"),
    };
    check(
        "driver == \"x\"",
        "ERROR: <input>:1:1: undeclared reference to 'driver' (in container '')\n | driver == \"x\"\n | ^",
    );
    check("device.nope == 1", "ERROR: <input>:1:7: undefined field 'nope'\n | device.nope == 1\n | ......^");
    check(
        "1 + 'a'",
        "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
    );
    check(
        "device.driver.foo(1)",
        "ERROR: <input>:1:18: undeclared reference to 'foo' (in container '')\n | device.driver.foo(1)\n | .................^",
    );
    check(
        "device.driver.startsWith(1)",
        "ERROR: <input>:1:25: found no matching overload for 'startsWith' applied to 'string.(int)'\n | device.driver.startsWith(1)\n | ........................^",
    );
    check(
        "device.driver.x",
        "ERROR: <input>:1:14: type 'string' does not support field selection\n | device.driver.x\n | .............^",
    );
    check(
        "1 +",
        "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 1 +\n | ...^",
    );
    check(
        "a | b",
        "ERROR: <input>:1:3: Syntax error: token recognition error at: '| '\n | a | b\n | ..^\nERROR: <input>:1:5: Syntax error: extraneous input 'b' expecting <EOF>\n | a | b\n | ....^",
    );
    check("[1, 'a'] == []", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a'] == []\n | ....^");
    check(
        "1.all(x, true)",
        "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | 1.all(x, true)\n | ^",
    );
    check("'a'.matches('(')", "ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('(')\n | ............^");
    check("'é' +\n a", "ERROR: <input>:2:2: undeclared reference to 'a' (in container '')\n |  a\n | .^");
    check("'é' + a", "ERROR: <input>:1:7: undeclared reference to 'a' (in container '')\n | 'é' + a\n | .．....^");
}

#[test]
fn types_never_hold_themselves() {
    let ok = "cel.bind(a, [], cel.bind(b, [], a == b && b == a && a == a))";
    assert_eq!(compile(&env(), ok).map(|t| t.to_string()).as_deref(), Ok("bool"));
    let told = compile(&env(), "cel.bind(a, [], a == [a])").expect_err("a list within itself").to_string();
    assert!(told.contains("found no matching overload for '_==_'"), "{told}");
    // Each step doubles the parts of the type.
    let mut doubled = String::from("a60 == a60");
    for i in (1..=60).rev() {
        doubled = format!("cel.bind(a{i}, {{a{}: a{}}}, {doubled})", i - 1, i - 1);
    }
    let told = compile(&env(), &format!("cel.bind(a0, [], {doubled})")).expect_err("too much").to_string();
    assert!(told.contains("too complex"), "{told}");
}

#[test]
fn anything_is_answered() {
    // The stack that a worker of the server has; frames of debug builds are several times as large.
    let size = if cfg!(debug_assertions) { 16 << 20 } else { 2 << 20 };
    let thread = std::thread::Builder::new().stack_size(size).spawn(noise).expect("a thread starts");
    thread.join().expect("nothing panics");
}

fn noise() {
    // A small generator of its own: the same noise in every run.
    let words = [
        "a", ".", "(", ")", "[", "]", "{", "}", "'x'", "1", "&&", "!", "-", "?", ":", ",", "has", "all", "\\", "é",
        "`", "in", "\n", "0x",
    ];
    let mut state = 42u64;
    for _ in 0..20_000 {
        let mut source = String::new();
        for _ in 0..(state >> 33) % 24 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            source.push_str(words[(state >> 33) as usize % words.len()]);
        }
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        if let Err(e) = compile(&env(), &source) {
            assert!(e.to_string().starts_with("ERROR: <input>:"), "{source}");
        }
    }
    let wide = vec!["(object.a.b + 1) * 2 == 3"; 2_000].join(" && ");
    assert!(compile(&env(), &wide).is_ok());
    for deep in [
        "(".repeat(100_000),
        "[".repeat(90_000),
        "!".repeat(99_000),
        "a.".repeat(40_000),
        "a[".repeat(40_000),
        "1+".repeat(40_000),
        format!("{}x{}", "(".repeat(200), format!("{})", ".a".repeat(200)).repeat(200)),
        format!("{}x{}", "(".repeat(200), format!("{})", "+1".repeat(200)).repeat(200)),
    ] {
        assert!(compile(&env(), &deep).is_err());
    }
}
