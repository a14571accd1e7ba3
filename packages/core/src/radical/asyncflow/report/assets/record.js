// The data of the page: it unpacks the columns, and answers questions about a task.

const data = JSON.parse(document.getElementById('data').textContent);
const size = typeof data.number === 'number' ? data.number : data.number.length;
const numbers = typeof data.number === 'number' ? null : data.number;
const places = numbers && new Map(numbers.map((number, place) => [number, place]));

const at = (column, place) => (Array.isArray(column) ? column[place] : column);
const numberOf = (place) => (numbers ? numbers[place] : place + 1);
const placeOf = (number) =>
	places ? places.get(number) : number >= 1 && number <= size ? number - 1 : undefined;

const NEVER = -1e15;
const known = (time) => time > NEVER / 2;

// Times in seconds since the run began; NEVER if they are not known.
const times = (() => {
	const found = {};
	const names = ['added', 'ready', 'started', 'ended'];
	for (const name of names) found[name] = new Float64Array(size).fill(NEVER);
	let last = 0;
	for (let place = 0; place < size; place++) {
		let tick = last;
		for (const name of names) {
			const step = at(data[name], place);
			if (step === null) continue;
			tick += step;
			found[name][place] = tick * data.unit;
			if (name === 'added') last = tick;
		}
	}
	return found;
})();
const runLength = data.length * data.unit;

// Dependencies: those of a task are after[first[place] .. first[place + 1]], as places.
const edges = (() => {
	const first = new Uint32Array(size + 1);
	const after = [];
	let seen = 0;
	for (let place = 0; place < size; place++) {
		first[place] = after.length;
		for (let left = at(data.dependencies, place); left > 0; left--) {
			const source = placeOf(numberOf(place) - data.after[seen++]);
			if (source !== undefined) after.push(source);
		}
	}
	first[size] = after.length;
	return { first, after };
})();

const above = (place) => edges.after.slice(edges.first[place], edges.first[place + 1]);

// The other direction, computed on first use.
let followers = null;
function below(place) {
	if (!followers) {
		followers = Array.from({ length: size }, () => []);
		for (let target = 0; target < size; target++)
			for (const source of above(target)) followers[source].push(target);
	}
	return followers[place];
}

const failedOf = (() => {
	const found = new Map();
	for (const row of data.failed) {
		const place = placeOf(row[0]);
		if (!found.has(place)) found.set(place, []);
		found.get(place).push(row);
	}
	return (place) => found.get(place) ?? [];
})();

const functionOf = (place) => at(data.function, place);
const nameOf = (place) => data.functions[functionOf(place)][0];
const kindOf = (place) => data.functions[functionOf(place)][1];
const stateOf = (place) =>
	numberOf(place) in data.reused ? 'reused' : data.states[at(data.state, place)].toLowerCase();
const idOf = (place) => 'task.' + String(numberOf(place)).padStart(6, '0');
const listed = (names, place) => (place === null || place === undefined ? '' : names[place]);
const backendOf = (place) => listed(data.backends, at(data.backend, place));
const workerOf = (place) => listed(data.workers, at(data.worker, place));
const workflowOf = (place) => listed(data.workflows, at(data.workflow, place));
const text = (place) => (place === null || place === undefined ? '' : data.texts[place]);

// The seconds of all attempts; 0 for a task that never ran or was reused.
const took = (() => {
	const found = new Float64Array(size);
	for (let place = 0; place < size; place++) {
		if (numberOf(place) in data.reused) continue;
		if (known(times.started[place]) && known(times.ended[place]))
			found[place] = Math.max(0, times.ended[place] - times.started[place]);
	}
	for (const [number, , , start, end] of data.failed)
		if (start !== null) found[placeOf(number)] += (end - start) * data.unit;
	return found;
})();
