// The JavaScript client against a cluster with nodes: node check.js KUBECONFIG. The last line says how many checks
// passed and failed.
import * as k8s from '@kubernetes/client-node';
import { randomUUID } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';

const config = new k8s.KubeConfig();
config.loadFromFile(process.argv[2]);
const core = config.makeApiClient(k8s.CoreV1Api);
const namespace = `node-${randomUUID().slice(0, 6)}`;
let passed = 0;
let failed = 0;

function check(what, good) {
  if (good) passed += 1;
  else {
    failed += 1;
    console.log(`FAIL JavaScript client: ${what}`);
  }
}

async function refused(what, code, call) {
  try {
    await call();
    check(`${what} was accepted`, false);
  } catch (e) {
    check(`${what}: ${e.code}`, e.code === code);
  }
}

/** Runs until the promise settles or the time is over. */
const within = (ms, what, promise) =>
  Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error(`${what} took too long`)), ms).unref())]);

async function objects() {
  for (let i = 0; i < 5; i += 1) {
    const body = { metadata: { name: `c${i}`, labels: { n: `${i % 2}` } }, data: { a: `${i}` } };
    check('create', (await core.createNamespacedConfigMap({ namespace, body })).metadata.uid);
  }
  await refused('create twice', 409, () => core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'c0' } } }));
  await refused('an invalid name', 422, () => core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'A_b' } } }));
  await refused('a missing object', 404, () => core.readNamespacedConfigMap({ namespace, name: 'nope' }));
  const names = [];
  let token;
  do {
    const page = await core.listNamespacedConfigMap({ namespace, limit: 2, _continue: token });
    names.push(...page.items.map((c) => c.metadata.name).filter((n) => n.startsWith('c')));
    token = page.metadata._continue;
  } while (token);
  check(`paged list: ${names}`, names.join() === 'c0,c1,c2,c3,c4');
  const patch = (type, body) =>
    core.patchNamespacedConfigMap(
      { namespace, name: 'c0', body, fieldManager: 'check', force: type === k8s.PatchStrategy.ServerSideApply ? true : undefined },
      k8s.setHeaderOptions('Content-Type', type),
    );
  check('merge patch', (await patch(k8s.PatchStrategy.MergePatch, { data: { b: '2' } })).data.b === '2');
  check('strategic patch', (await patch(k8s.PatchStrategy.StrategicMergePatch, { data: { c: '3' } })).data.c === '3');
  check('JSON patch', !(await patch(k8s.PatchStrategy.JsonPatch, [{ op: 'remove', path: '/data/b' }])).data.b);
  const applied = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c0' }, data: { d: '4' } };
  check('apply', (await patch(k8s.PatchStrategy.ServerSideApply, applied)).data.d === '4');
  check('delete', (await core.deleteNamespacedConfigMap({ namespace, name: 'c1' })).status === 'Success');
}

async function watches() {
  const { metadata } = await core.listNamespacedConfigMap({ namespace });
  await core.deleteNamespacedConfigMap({ namespace, name: 'c2' });
  const seen = [];
  const ended = new Promise((done) => {
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const options = { resourceVersion: metadata.resourceVersion, timeoutSeconds: 2, allowWatchBookmarks: true };
    new k8s.Watch(config).watch(path, options, (type, object) => seen.push([type, object.metadata.name]), done);
  });
  await within(20_000, 'the watch', ended);
  check(`watch resumed: ${JSON.stringify(seen)}`, seen.some(([type, name]) => type === 'DELETED' && name === 'c2'));
}

async function pods() {
  const container = { name: 'web', image: 'steersman.local/web:v1', imagePullPolicy: 'IfNotPresent' };
  const body = { metadata: { name: 'web' }, spec: { containers: [container] } };
  for (let i = 0; ; i += 1) {
    try {
      await core.createNamespacedPod({ namespace, body });
      break;
    } catch (e) {
      // The namespace's account is made by a controller.
      if (e.code !== 403 || i > 300) throw e;
      await new Promise((r) => setTimeout(r, 100));
    }
  }
  const running = new Promise((done, fail) => {
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const watching = new k8s.Watch(config).watch(
      path,
      { fieldSelector: 'metadata.name=web' },
      (_, pod) => pod.status?.phase === 'Running' && watching.then((w) => w.abort()).then(done),
      (e) => (e && e.name !== 'AbortError' ? fail(e) : done()),
    );
  });
  await within(60_000, 'the start of the pod', running);
  const text = (stream) => {
    const chunks = [];
    stream.on('data', (c) => chunks.push(c));
    return () => Buffer.concat(chunks).toString();
  };
  const [out, err] = [new PassThrough(), new PassThrough()];
  const [outText, errText] = [text(out), text(err)];
  const status = await within(
    20_000,
    'exec',
    new Promise((done, fail) => {
      const command = ['sh', '-c', 'echo out; echo err >&2; exit 3'];
      new k8s.Exec(config).exec(namespace, 'web', 'web', command, out, err, null, false, done).catch(fail);
    }),
  );
  check('exec', outText() === 'out\n' && errText() === 'err\n' && status.details?.causes?.[0]?.message === '3');
  let answer = '';
  for (let i = 0; i < 50 && !answer.includes('web'); i += 1) {
    const got = new PassThrough();
    const gotText = text(got);
    const request = Readable.from(['GET /cgi-bin/hostname HTTP/1.0\r\n\r\n']);
    const socket = await new k8s.PortForward(config, true).portForward(namespace, 'web', [8080], got, null, request);
    await new Promise((r) => setTimeout(r, 200));
    answer = gotText();
    (typeof socket === 'function' ? socket() : socket)?.close();
  }
  check(`port-forward: ${answer}`, answer.includes('web'));
  await core.deleteNamespacedPod({ namespace, name: 'web', gracePeriodSeconds: 0 });
}

await core.createNamespace({ body: { metadata: { name: namespace } } });
try {
  await objects();
  await watches();
  await pods();
} finally {
  await core.deleteNamespace({ name: namespace });
}
console.log(`JavaScript client: ${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
