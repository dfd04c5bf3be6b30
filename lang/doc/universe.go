// SPDX-License-Identifier: Apache-2.0

package doc

// universe are Starlark's own functions and values. Each example is an expression, and its value.
var universe = []struct{ name, heading, doc, example string }{
	{"None", "None", "The value of nothing.", "None == None  # True"},
	{"True", "True", "The truth value.", "not True  # False"},
	{"False", "False", "The truth value of what is not so.", "not False  # True"},
	{"abs", "abs(x)", "Returns a number without its sign.", "abs(-2)  # 2"},
	{"any", "any(x)", "Reports whether any element is true.", "any([0, 1])  # True"},
	{"all", "all(x)", "Reports whether all elements are true.", "all([0, 1])  # False"},
	{"bool", "bool(x=False)", "Returns the truth value of x: numbers but 0, and strings, lists and dicts that are not empty, are true.", `bool("")  # False`},
	{"bytes", "bytes(x)", "Makes bytes of a string, or of a list of numbers.", `bytes([97, 98])  # b"ab"`},
	{"chr", "chr(i)", "Returns the character with a code.", `chr(97)  # "a"`},
	{"dict", "dict(pairs=[], **fields)", "Makes a dict of pairs and named values.", `dict([("a", 1)], b = 2)  # {"a": 1, "b": 2}`},
	{"dir", "dir(x)", "Lists the names of the attributes and methods of a value.", `"append" in dir([])  # True`},
	{"enumerate", "enumerate(x, start=0)", "Returns pairs of a number and an element.", `enumerate(["a", "b"], 1)  # [(1, "a"), (2, "b")]`},
	{"float", "float(x=0.0)", "Makes a float of a number or a string.", `float("1.5")  # 1.5`},
	{"getattr", "getattr(x, name, default)", "Returns an attribute or method by its name.", `getattr("ab", "upper")()  # "AB"`},
	{"hasattr", "hasattr(x, name)", "Reports whether a value has an attribute or method.", `hasattr("ab", "upper")  # True`},
	{"hash", "hash(x)", "Returns a number that depends on a string's or bytes' content only.", `hash("a") == hash("a")  # True`},
	{"int", "int(x, base)", "Makes an int of a number, or of a string in a base.", `int("ff", 16)  # 255`},
	{"len", "len(x)", "Returns how many elements, or bytes of text, there are.", "len([1, 2, 3])  # 3"},
	{"list", "list(x=[])", "Makes a new list of elements.", "list((1, 2))  # [1, 2]"},
	{"max", "max(*args, key=None)", "Returns the greatest element.", "max(1, 3, 2)  # 3"},
	{"min", "min(*args, key=None)", "Returns the least element.", `min(["bb", "a"], key = len)  # "a"`},
	{"ord", "ord(s)", "Returns the code of a character.", `ord("a")  # 97`},
	{"print", `print(*args, sep=" ")`, "Prints values to the log, for debugging; log has fields.", `print("value", 1)  # None`},
	{"range", "range(start, stop, step=1)", "Returns the numbers from start, 0 without it, up to but without stop.", "list(range(3))  # [0, 1, 2]"},
	{"repr", "repr(x)", "Returns a value as it is written in Starlark.", `repr("a")  # "\"a\""`},
	{"reversed", "reversed(x)", "Returns a new list of the elements, from the last to the first.", "reversed([1, 2])  # [2, 1]"},
	{"set", "set(x=[])", "Makes a set of elements, each once.", "len(set([1, 2, 2]))  # 2"},
	{"sorted", "sorted(x, key=None, reverse=False)", "Returns a new list of the elements, in order.", `sorted([3, 1, 2], reverse = True)  # [3, 2, 1]`},
	{"str", "str(x)", "Returns a value as text.", `str(1.5)  # "1.5"`},
	{"tuple", "tuple(x=())", "Makes a tuple of elements.", "tuple([1, 2])  # (1, 2)"},
	{"type", "type(x)", "Returns the name of a value's type.", `type([])  # "list"`},
	{"zip", "zip(*args)", "Returns tuples of the first elements, the second ones, and so on.", `zip([1, 2], ["a", "b"])  # [(1, "a"), (2, "b")]`},
}
