// The rows of the form that become `filter`, and back.

import { byId, element } from './dom.js';

const OPERATORS = { is: 'is', not: 'is not', gte: 'is at least', lte: 'is at most', gt: 'is over', lt: 'is under' };
const LIKELY = ['label', 'artist', 'duration_s'];
const CLASH = 'This cannot hold beside the other condition on its column. Several values are joined by ;';
let numeric = new Set();
let columns = [];

export function setColumns(names, numericNames) {
  numeric = new Set(numericNames);
  columns = [...LIKELY.filter((name) => names.includes(name)), ...names.filter((name) => !LIKELY.includes(name))];
}

export function addCondition(changed, { column = columns[0], operator = 'is', value = '' } = {}) {
  const names = columns.includes(column) ? columns : [...columns, column];
  const row = element('li', {},
    select('Column', names.map((name) => [name, name]), column),
    select('Comparison', Object.entries(OPERATORS), operator),
    element('input', { type: 'text', value, 'aria-label': 'Value; several are joined by ;', placeholder: 'one; or another' }),
    element('button', { type: 'button', className: 'plain', textContent: 'Remove', 'aria-label': 'Remove this condition', onclick: remove }));
  function remove() {
    row.remove();
    byId('add-condition').focus();
    changed();
  }
  byId('conditions').append(row);
  return row;
}

// What cannot be said in one filter is left out of it, and its field is not valid.
export function readConditions() {
  const filter = {};
  for (const row of byId('conditions').children) {
    const [column, operator, value] = [...row.querySelectorAll('select, input')].map((field) => field.value);
    const tellClash = (told) => row.querySelector('input').setCustomValidity(told);
    tellClash('');
    const values = value.split(';').map((part) => part.trim()).filter(Boolean);
    if (!values.length) continue;
    const typed = valueOf(values, numeric.has(column) || !['is', 'not'].includes(operator));
    const before = filter[column];
    if (operator === 'is' ? before !== undefined : !isPlain(before) || (operator !== 'not' && before?.[operator] !== undefined)) tellClash(CLASH);
    else if (operator === 'is') filter[column] = typed;
    else if (before?.not !== undefined && operator === 'not') filter[column] = { ...before, not: [before.not, typed].flat() };
    else filter[column] = { ...before, [operator]: typed };
  }
  return Object.keys(filter).length ? filter : null;
}

export function writeConditions(filter, changed) {
  byId('conditions').replaceChildren();
  for (const [column, wanted] of Object.entries(filter ?? {})) {
    const byOperator = isPlain(wanted) ? wanted ?? {} : { is: wanted };
    for (const [operator, value] of Object.entries(byOperator)) {
      addCondition(changed, { column, operator, value: [value].flat().join('; ') });
    }
  }
}

const isPlain = (wanted) => wanted === undefined || wanted === null || (typeof wanted === 'object' && !Array.isArray(wanted));

function valueOf(values, isNumeric) {
  const typed = values.map((value) => (isNumeric && Number.isFinite(Number(value)) ? Number(value) : value));
  return typed.length === 1 ? typed[0] : typed;
}

function select(label, choices, chosen) {
  const options = choices.map(([value, shown]) => element('option', { value, textContent: shown, selected: value === chosen }));
  return element('select', { 'aria-label': label }, ...options);
}
