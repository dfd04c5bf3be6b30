-- What a user of Neovim sees in a scenario: a wrong argument is underlined, and a completion inside of "mig." lists its
-- members. Neovim is set up by the README's lines. The answers go to $ANSWERS as JSON.
local answers = {}

local function finish()
  vim.fn.writefile({ vim.json.encode(answers) }, vim.env.ANSWERS)
  vim.cmd("qall!")
end

vim.wait(30000, function() return #vim.diagnostic.get(0) > 0 end, 20)
for _, d in ipairs(vim.diagnostic.get(0)) do
  answers.message = d.message
end

local diagnostics = { user_data = {} }
for _, namespace in pairs(vim.diagnostic.get_namespaces()) do
  diagnostics = namespace
end
local line = vim.fn.getline(4)
for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, diagnostics.user_data.underline_ns or -1, 0, -1, { details = true })) do
  answers.underlined = line:sub(mark[3] + 1, mark[4].end_col)
  answers.underlined_line, answers.highlight = mark[2] + 1, mark[4].hl_group
end

-- The keys are read when this file is at its end.
local keys = vim.api.nvim_replace_termcodes("5GA<CR>mig.<C-x><C-o>", true, true, true)
vim.api.nvim_feedkeys(keys, "n", false)
local tries = 0
local timer = vim.loop.new_timer()
timer:start(20, 20, vim.schedule_wrap(function()
  tries = tries + 1
  local items = vim.fn.complete_info({ "items" }).items
  if #items == 0 and tries < 1500 then
    return
  end
  timer:stop()
  answers.members = {}
  for _, item in ipairs(items) do
    table.insert(answers.members, item.word)
  end
  finish()
end))
