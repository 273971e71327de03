# frozen_string_literal: true

# What Open OnDemand's dashboard does with a batch_connect app, as far as an app can tell: it reads the form, renders
# submit.yml.erb, stages `template`, composes the job's script around it (template "basic") and, later, shows the card.
# Written from what OnDemand's documentation says of interactive apps, and the order in which ood_core's script does things.
#
#   dashboard.rb launch APP STAGED   a form on standard input (JSON); prints {"args": [...], "script": "..."} for sbatch
#     SET_HOST in the environment is the cluster's batch_connect: basic: set_host; FORM is a form.yml that it has kept, for
#     hours, while the app was rendered anew: what is not in there is nothing that the context knows
#   dashboard.rb form APP            prints the form as the dashboard has it (JSON): form.yml.erb, or form.yml if there is none
#   dashboard.rb card APP STAGED STATE   prints {"title": "Starting", "html": "..."}; STATE is Slurm's word for the job

require "erb"
require "fileutils"
require "json"
require "ostruct"
require "redcarpet"
require "yaml"

MARKDOWN = Redcarpet::Markdown.new(Redcarpet::Render::HTML, autolink: true, tables: true, strikethrough: true,
                                   fenced_code_blocks: true, no_intra_emphasis: true)

# The values that the user has chosen; what is not in the form does not exist.
class Context
  def initialize(values)
    @values = values
  end

  def method_missing(name, *)
    @values.fetch(name.to_s) { super }
  end

  def respond_to_missing?(name, _private = false)
    @values.key?(name.to_s)
  end

  def to_h
    @values
  end
end

Staging = Struct.new(:session, :context) do
  def bound
    binding
  end
end

# What info and completed see: the session itself.
class Session
  attr_reader :id, :job_id, :cluster_id, :created_at, :staged_root

  def initialize(staged, state)
    @id = File.basename(staged)
    @staged_root = staged
    @state = state
  end

  def completed?
    !%w[PENDING RUNNING COMPLETING REQUEUED].include?(@state)
  end

  def queued?
    %w[PENDING REQUEUED].include?(@state)
  end

  def render(file)
    MARKDOWN.render(ERB.new(File.read(file), trim_mode: "-").result(binding))
  end
end

def form(app)
  kept = ENV["FORM"] || %w[form.yml.erb form.yml].map { |name| File.join(app, name) }.find { |path| File.file?(path) }
  text = File.read(kept)
  YAML.safe_load(kept.end_with?(".erb") ? ERB.new(text, trim_mode: "-").result : text)
end

def deep_merge(one, other)
  one.merge(other) { |_, a, b| a.is_a?(Hash) && b.is_a?(Hash) ? deep_merge(a, b) : b }
end

# Every attribute of the form with its preset; then what was sent, whatever that is: a browser's limits bind no sender.
def context(app, sent)
  said = form(app)
  preset = said["form"].to_h do |name|
    field = said.fetch("attributes", {}).fetch(name, {})
    first = field.is_a?(Hash) ? field["value"] || field.fetch("options", []).flatten.last(1).first : field
    first = field["options"].first.last if field.is_a?(Hash) && field["options"]
    [name, (first || "").to_s]
  end
  clusters = Array(said["cluster"]) # of several it asks for one
  cluster = clusters.include?(sent["cluster"]) ? sent["cluster"] : clusters.first
  Context.new({ "cluster" => cluster }.merge(preset).merge(sent.slice(*preset.keys)))
end

def submission(app, chosen, staged)
  bound = Context.new(chosen.to_h.merge("staged_root" => staged)).instance_eval { binding }
  text = ERB.new(File.read(File.join(app, "submit.yml.erb")), trim_mode: "-").result(bound)
  hours = { "script" => { "wall_time" => chosen.to_h["bc_num_hours"].to_i * 3600 } }
  deep_merge(hours, YAML.safe_load(text))
end

def stage(app, chosen, staged)
  FileUtils.mkpath(staged)
  FileUtils.cp_r(File.join(app, "template", "."), staged, preserve: true)
  File.write(File.join(staged, "user_defined_context.json"), JSON.pretty_generate(chosen.to_h))
  bound = Staging.new(Session.new(staged, "PENDING"), chosen).bound
  Dir.glob(File.join(staged, "**", "*.erb")).each do |file|
    text = ERB.new(File.read(file), trim_mode: "-").result(bound)
    plain = file.delete_suffix(".erb")
    File.rename(file, plain) # which keeps its mode
    File.write(plain, text)
  end
end

# The script in the documented order: host, before, script in the background, after, connection.yml, wait, clean up.
def script(staged, options)
  names = (options.fetch("conn_params", []) + %w[host port password]).uniq
  file = ->(name) { File.join(staged, name) }
  sourced = ->(name) { %([[ -e "#{file.(name)}" ]] && source "#{file.(name)}") }
  <<~SCRIPT
    #!/bin/bash
    cd #{staged}
    export host port
    create_yml () {
      echo "Generating connection YAML file..."
      ( umask 077; echo -e "#{names.map { |name| "#{name}: $#{name}" }.join('\n')}" > "#{file.('connection.yml')}" )
    }
    clean_up () {
      echo "Cleaning up..."
      #{sourced.('clean.sh')}
      [[ ${SCRIPT_PID} ]] && pkill -P ${SCRIPT_PID} || :
      pkill -P $$
      exit ${1:-0}
    }
    #{ENV.fetch("SET_HOST", "host=$(hostname)")}
    #{sourced.('before.sh')}
    echo "Script starting..."
    "#{file.('script.sh')}" &
    SCRIPT_PID=$!
    #{sourced.('after.sh')}
    create_yml
    wait ${SCRIPT_PID} || clean_up 1
    clean_up
  SCRIPT
end

def clock(seconds)
  format("%02d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60)
end

def launch(app, staged)
  chosen = context(app, JSON.parse($stdin.read))
  asked = submission(app, chosen, staged)
  raise "not the basic template" unless asked.dig("batch_connect", "template") == "basic"

  stage(app, chosen, staged)
  options = asked.fetch("script")
  args = ["-D", staged, "-J", "sys/dashboard/sys/desktop", "-o", File.join(staged, "output.log")]
  args += ["-p", options["queue_name"]] if options["queue_name"]
  args += ["-A", options["accounting_id"]] if options["accounting_id"]
  args += ["-t", clock(options.fetch("wall_time")), "--export", "NONE", *options.fetch("native", [])]
  { "args" => args, "script" => script(staged, asked["batch_connect"]) }
end

def card(app, staged, state)
  session = Session.new(staged, state)
  connection = File.join(staged, "connection.yml")
  parts = [session.render(File.join(app, "info.html.erb"))]
  title = { "PENDING" => "Queued", "RUNNING" => "Starting" }.fetch(state, "Completed")
  if session.completed?
    parts << session.render(File.join(app, "completed.html.erb"))
  elsif state == "RUNNING" && File.file?(connection)
    title = "Running"
    connect = OpenStruct.new(YAML.safe_load(File.read(connection)))
    view = ERB.new(File.read(File.join(app, "view.html.erb")), trim_mode: "-")
    parts << MARKDOWN.render(view.result(connect.instance_eval { binding }))
  end
  { "title" => title, "html" => parts.join("\n") }
end

command, app, staged, state = ARGV
app = File.realpath(app)
done = { "launch" => -> { launch(app, staged) }, "form" => -> { form(app) }, "card" => -> { card(app, staged, state) } }
puts JSON.generate(done.fetch(command).call)
