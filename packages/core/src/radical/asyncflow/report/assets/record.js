// The data of the page: it unpacks the columns, and answers questions about a task.  A page of a
// run that goes on gets further rows and names, through `addNames` and `addRows`.

const data = JSON.parse(document.getElementById('data').textContent);
const isLive = data.live === true;
let size = isLive ? 0 : typeof data.number === 'number' ? data.number : data.number.length;
const numbers = typeof data.number === 'number' ? null : data.number;
const places = numbers && new Map(numbers.map((number, place) => [number, place]));

const at = (column, place) => (Array.isArray(column) ? column[place] : column);
const numberOf = (place) => (numbers ? numbers[place] : place + 1);
const placeOf = (number) =>
	places ? places.get(number) : number >= 1 && number <= size ? number - 1 : undefined;

const NEVER = -1e15;
const known = (time) => time > NEVER / 2;
const TIMES = ['added', 'ready', 'started', 'ended'];

// Times in seconds since the run began; NEVER if they are not known.
const times = {};
for (const name of TIMES) times[name] = new Float64Array(size).fill(NEVER);
let runLength = data.length * data.unit;

// Dependencies: those of a task are after[first[place] .. first[place + 1]], as places.
const edges = { first: [0], after: [] };
function addEdges(place, sources) {
	for (const number of sources) {
		const source = placeOf(number);
		if (source !== undefined) edges.after.push(source);
	}
	edges.first[place + 1] = edges.after.length;
}

// The rows that are in the page from its beginning.
if (!isLive) {
	let last = 0;
	let seen = 0;
	for (let place = 0; place < size; place++) {
		let tick = last;
		for (const name of TIMES) {
			const step = at(data[name], place);
			if (step === null) continue;
			tick += step;
			times[name][place] = tick * data.unit;
			if (name === 'added') last = tick;
		}
		const sources = [];
		for (let left = at(data.dependencies, place); left > 0; left--) sources.push(numberOf(place) - data.after[seen++]);
		addEdges(place, sources);
	}
}

const above = (place) => edges.after.slice(edges.first[place], edges.first[place + 1]);

// The other direction, computed on first use.
let followers = null;
function below(place) {
	if (!followers || followers.length !== size) {
		followers = Array.from({ length: size }, () => []);
		for (let target = 0; target < size; target++)
			for (const source of above(target)) followers[source].push(target);
	}
	return followers[place];
}

const failedRows = new Map();
function addFailed(row) {
	if (!failedRows.has(row[0])) failedRows.set(row[0], []);
	failedRows.get(row[0]).push(row);
}
data.failed.forEach(addFailed);
const failedOf = (place) => failedRows.get(numberOf(place)) ?? [];

const functionOf = (place) => at(data.function, place);
const nameOf = (place) => data.functions[functionOf(place)][0];
const kindOf = (place) => data.functions[functionOf(place)][1];
const stateOf = (place) =>
	numberOf(place) in data.reused ? 'reused' : data.states[at(data.state, place)].toLowerCase();
// The slots that a task takes: its cores, on all of its ranks together.
const coresOf = (place) => data.cores[numberOf(place)] ?? data.functions[functionOf(place)][2] ?? 1;
const causeOf = (place) => (isLive ? data.causes[data.cause[place]] : undefined);
const idOf = (place) => 'task.' + String(numberOf(place)).padStart(6, '0');
const listed = (names, place) => (place === null || place === undefined ? '' : names[place]);
const backendOf = (place) => listed(data.backends, at(data.backend, place));
const workerOf = (place) => listed(data.workers, at(data.worker, place));
const workflowOf = (place) => listed(data.workflows, at(data.workflow, place));
const text = (place) => (place === null || place === undefined ? '' : data.texts[place]);

// The seconds of all attempts; 0 for a task that never ran or was reused.
let took = new Float64Array(size);
function addUp(place) {
	took[place] = 0;
	if (stateOf(place) !== 'reused' && known(times.started[place]) && known(times.ended[place]))
		took[place] = Math.max(0, times.ended[place] - times.started[place]);
	for (const [, , , start, end] of failedOf(place)) if (start !== null) took[place] += (end - start) * data.unit;
}
for (let place = 0; place < size; place++) addUp(place);

const grown = (column, fill) => {
	const more = new Float64Array(Math.max(1024, column.length * 2)).fill(fill);
	more.set(column);
	return more;
};

// Take in *rows* of a run that goes on, and return the places of the tasks.
const COLUMNS = ['state', 'function', 'backend', 'worker', 'workflow', 'attempt', 'lane', 'cause'];
function addRows(rows) {
	const found = rows.number.map((number) => {
		let place = places.get(number);
		if (place === undefined) {
			place = size++;
			places.set(number, place);
			numbers[place] = number;
			if (place >= took.length) {
				took = grown(took, 0);
				for (const name of TIMES) times[name] = grown(times[name], NEVER);
			}
		}
		return place;
	});
	let seen = 0;
	found.forEach((place, row) => {
		for (const name of COLUMNS) data[name][place] = at(rows[name], row);
		for (const name of TIMES) {
			const tick = at(rows[name], row);
			times[name][place] = tick === null ? NEVER : tick * data.unit;
		}
		const sources = [];
		for (let left = at(rows.dependencies, row); left > 0; left--) sources.push(rows.number[row] - rows.after[seen++]);
		if (edges.first.length === place + 1) addEdges(place, sources);
		addUp(place);
	});
	return found;
}
