# shellcheck shell=bash
# Sourced by the stages: find_python VERSION prints the path of that Python, where this controller has it.

find_python() {
  local found=
  if command -v pyenv >/dev/null; then
    found=$(find "$(pyenv root)/versions" -path "*/$1.*/bin/python" | sort -V | tail -n 1)
  fi
  [[ -n $found ]] || found=$(command -v "python$1" || true)
  [[ -n $found ]] && "$found" -c '' 2>/dev/null && echo "$found"
}
