'use strict';
const chinese = document.documentElement.lang.startsWith('zh');
const say = (en, zh) => (chinese ? zh : en);
const element = (id) => document.getElementById(id);

const FLOW_HINTS = {
  onboarding: say('Face against the authority; name and ID number are required.', '人脸与权威库比对；必须提供姓名和身份证号。'),
  encrypted: say('As onboarding, with name and ID number encrypted on their way to the vendor (AES-256-CBC).', '同 onboarding，姓名和身份证号加密传给腾讯云（AES-256-CBC）。'),
  photo: say('Face against a photo of the caller; this page sends a sample.', '人脸与调用方提供的照片比对；本页面发送一张示例照片。'),
  signing: say('As onboarding, and then the user reads a text aloud (意愿核身). Encrypted with SM4-GCM.', '同 onboarding，之后用户朗读一段话（意愿核身）；SM4-GCM 加密。'),
};
const OUTCOMES = [
  [0, say('passed', '通过')], [301, say('ID number differs', '身份证号不一致')], [1004, say('liveness failed', '活体检测未通过')],
  [2006, say('name and number do not match', '姓名与身份证号不匹配')], [2016, say('not the same person', '非同一人')],
  [2018, say('risk limit reached', '触发风控')],
];
const FAULTS = [
  [{ kind: 'error_code', code: 'InternalError' }, say('vendor: InternalError', '腾讯云：InternalError')],
  [{ kind: 'error_code', code: 'RequestLimitExceeded' }, say('vendor: RequestLimitExceeded', '腾讯云：RequestLimitExceeded')],
  [{ kind: 'error_code', code: 'UnauthorizedOperation.Arrears' }, say('vendor: account in arrears', '腾讯云：账户欠费')],
  [{ kind: 'http_status', status: 502 }, say('HTTP 502 with HTML', 'HTTP 502 和 HTML')],
  [{ kind: 'reset' }, say('connection reset', '连接被重置')],
  [{ kind: 'black_hole' }, say('no answer at all', '一直不回答')],
  [{ kind: 'cut_json' }, say('answer cut in the middle', '回答被截断')],
];
const ADVANCES = [
  [60, say('1 minute on', '向前 1 分钟')], [7200, say('2 hours on: tokens end', '向前 2 小时：令牌失效')],
  [259200, say('3 days on: results are gone', '向前 3 天：结果被删除')], [-7200, say('2 hours back', '向后 2 小时')],
];
const EVENTS_KEPT = 2000; // of all verifications together
let ours = null;          // the verification that this page created last
const happened = [];
const rows = new Map();

async function call(method, path, body) {
  const answer = await fetch('/dev/' + path, {
    method,
    headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(refusal(told));
  return told;
}

function refusal(told) {
  const first = [told.code, told.reason].filter(Boolean).join(' · ');
  const fields = (told.fields || []).map((bad) => `${bad.field}: ${bad.text}`);
  return [first, told.error, ...fields].filter(Boolean).join('\n');
}

/** Runs `work` with the button off; what goes wrong is told in the element `problem`. */
async function trying(problem, button, work) {
  element(problem).textContent = '';
  if (button) button.disabled = true;
  try {
    await work();
  } catch (error) {
    element(problem).textContent = error.message;
  } finally {
    if (button) button.disabled = false;
  }
}

function create(event) {
  event.preventDefault();
  trying('create-problem', element('create-button'), async () => {
    const form = Object.fromEntries(new FormData(element('create')));
    const created = await call('POST', 'verifications', form);
    ours = created.verification.id;
    element('created').hidden = false;
    element('qr').hidden = !created.qr;
    if (created.qr) element('qr').src = created.qr;
    element('link').href = element('link').textContent = created.url;
    rows.set(ours, created.verification);
    draw();
  });
}

function stateOf(name) {
  const state = document.createElement('b');
  state.className = 'state ' + name;
  state.textContent = name;
  return state;
}

const time = (ms) => new Date(ms).toLocaleTimeString(chinese ? 'zh-CN' : 'en-GB');
const eventsOf = (id) => happened.filter((event) => event.id === id);
const eventText = (event) => `${event.kind} → ${event.state}` + (event.code === null ? '' : ` (${event.code})`);

function attemptText(attempt) {
  return attempt ? `${attempt.code} ${chinese ? attempt.zh : attempt.en} → ${attempt.advice}` : '';
}

function drawOurs() {
  const row = rows.get(ours);
  if (!row) return;
  element('live-id').textContent = row.id;
  element('live-state').className = 'state ' + row.state;
  element('live-state').textContent = row.state;
  element('live-text').textContent = row.state === 'PENDING' && !row.last_attempt
    ? say('The user has not finished an attempt.', '用户尚未完成一次核身。')
    : [attemptText(row.last_attempt), row.more].filter(Boolean).join(' · ');
  element('live-events').replaceChildren(...eventsOf(row.id).map((event) => {
    const item = document.createElement('li');
    item.textContent = `${time(event.time_ms)} ${eventText(event)}`;
    return item;
  }));
}

function draw() {
  drawOurs();
  const newestFirst = [...rows.values()].sort((a, b) => b.created_ms - a.created_ms);
  element('no-rows').hidden = newestFirst.length > 0;
  element('rows').replaceChildren(...newestFirst.map((row) => {
    const line = document.createElement('tr');
    line.id = 'row-' + row.id;
    const cell = (content, kind) => {
      const cell = document.createElement('td');
      cell.append(content);
      if (kind) cell.className = kind;
      line.append(cell);
    };
    const id = document.createElement('code');
    id.textContent = row.id;
    cell(time(row.created_ms));
    cell(id, 'id');
    cell(row.flow);
    cell(stateOf(row.state));
    cell(attemptText(row.last_attempt), 'what');
    cell(eventsOf(row.id).map(eventText).join(', '), 'what');
    return line;
  }));
}

const list = () => trying('list-problem', null, async () => {
  const { verifications } = await call('GET', 'verifications');
  const more = new Map([...rows].map(([id, row]) => [id, row.more]));
  rows.clear();
  for (const row of verifications) rows.set(row.id, { ...row, more: more.get(row.id) });
  draw();
});

/** Several events in one moment need one list. */
let due = null;
function listSoon() {
  due ??= setTimeout(() => { due = null; list(); }, 150);
}

async function tellOurs() {
  const told = await call('GET', 'verifications/' + ours);
  const more = [];
  if (told.attempts) more.push(say('attempts: ', '各次结果：') + told.attempts.join(', '));
  if (told.evidence.length) more.push(say('evidence: ', '证据：') + told.evidence.join(', '));
  rows.set(ours, { ...told.verification, more: more.join(' · ') });
  draw();
}

function watch() {
  new EventSource('/dev/events').addEventListener('message', (message) => {
    const event = JSON.parse(message.data);
    happened.push(event);
    if (happened.length > EVENTS_KEPT) happened.shift();
    draw();
    listSoon();
    if (event.id === ours && event.kind !== 'CREATED') trying('list-problem', null, tellOurs);
  });
}

async function simulatorState() {
  const state = await call('GET', 'simulator/state');
  const offset = state.clock_offset_s;
  element('simulator-state').textContent = say(
    `Now: ${state.next_outcomes} prepared outcome(s), ${state.faults} planned fault(s), clock ${offset} s ahead, ${state.attempts} attempt(s) so far.`,
    `当前：已设定结果 ${state.next_outcomes} 个，待生效故障 ${state.faults} 个，时钟快 ${offset} 秒，共核身 ${state.attempts} 次。`);
  document.querySelector('[name=only_in_wechat]').checked = state.only_in_wechat;
}

function orderOf(form) {
  const fields = form.elements;
  switch (form.dataset.switch) {
    case 'outcomes': return ['outcomes', { codes: [Number(fields.code.value)] }];
    case 'faults': return ['faults', { ...JSON.parse(fields.fault.value), times: Number(fields.times.value) }];
    case 'latency': return ['faults', { kind: 'delay', ms: Number(fields.ms.value), for_ms: 60000 }];
    case 'clock': return ['clock', { advance_s: Number(fields.advance_s.value) }];
    default: return ['page', { only_in_wechat: fields.only_in_wechat.checked }];
  }
}

function change(form, method, path, body) {
  trying('switch-problem', form.querySelector('button'), async () => {
    await call(method, 'simulator/' + path, body);
    await simulatorState();
  });
}

function chooseFlow() {
  element('flow-hint').textContent = FLOW_HINTS[element('flow').value];
  element('read-aloud-field').hidden = element('flow').value !== 'signing';
}

const options = (pairs) => pairs.map(([value, label]) => new Option(label, typeof value === 'object' ? JSON.stringify(value) : value));
element('next-outcome').append(...options(OUTCOMES.map(([code, text]) => [code, `${code} ${text}`])));
element('fault').append(...options(FAULTS));
element('advance').append(...options(ADVANCES));
element('flow').addEventListener('change', chooseFlow);
element('create').addEventListener('submit', create);
for (const form of document.querySelectorAll('form.switch')) {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    change(form, 'POST', ...orderOf(form));
  });
  const clear = form.querySelector('[data-clear]');
  clear?.addEventListener('click', () => change(form, 'DELETE', clear.dataset.clear));
}
// The browser comes back to what it had typed, not to the state of another visit.
chooseFlow();
list();
watch();
trying('switch-problem', null, simulatorState);
setInterval(() => trying('switch-problem', null, simulatorState), 5000);
